"""The platform that decisions are tried on: its settings, and who has accepted which license."""

from collections.abc import Iterable
from typing import Any

import msgspec
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.policy.view import PolicyView
from paddock_core.policy.wire import Change
from paddock_operator.decide.outcome import Config
from paddock_operator.observed import Observed, parse
from paddock_operator.ports import Key, Policy

from tests.operator.policy_server import KINDS, accepted, registered, texts

NOW = 1_800_000_000.0
CONFIG = Config(
    serving_image="registry.test/serving:1",
    image_pull_policy="IfNotPresent",
    weights_volume={"persistentVolumeClaim": {"claimName": "weights"}},
    serving_controlplane_url="http://control-plane.test",
    gateway_url="http://gateway.test",
    platform_key=b"key",
    drain_seconds=3.0,
    probe_interval_seconds=30.0,
    given_gpus=100_000,
    allow_unpinned_images=True,
    version="1.0.0",
)


def view_of(objects: Iterable[Any]) -> PolicyView:
    """What the operator knows after it heard of these policy objects in this order."""
    return PolicyView.empty().apply(
        Change(revision=number, kind=KINDS[type(item)], id=item.id, body=msgspec.to_builtins(item))
        for number, item in enumerate(objects, start=1)
    )


def policy_of(objects: Iterable[Any], *, at: float = NOW) -> Policy:
    """The same as a policy that has not expired."""
    return Policy(view=view_of(objects), expired=False, at=at)


def licensed(license_id: str) -> Policy:
    """Acme may use the demonstration model, and the models of this license, which the platform has accepted too."""
    return policy_of(
        [
            *registered(),
            *accepted("acme-inc"),
            *texts(license_id),
            *accepted("platform", role="operator", license_id=license_id),
            *accepted("acme-inc", license_id=license_id),
        ]
    )


def looked(*, spec: dict[str, Any], status: dict[str, Any], now: float = NOW, **more: Any) -> Observed:
    """A look at acme's deployment `chat`, which has this specification and status."""
    metadata = {"namespace": "acme", "name": "chat", "uid": "u1", "generation": 1, "resourceVersion": "5"}
    deployment, problem = parse({"metadata": metadata, "spec": spec, "status": status})
    assert problem is None, problem
    return Observed(
        key=Key("acme", "chat"),
        now=now,
        catalog=packaged_catalog(),
        policy=licensed("llama3.2"),
        deployment=deployment,
        **more,
    )
