"""LlamaModels: what a round decides, on looks made by hand; their life on a real API server is in test_model_life."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.policy.view import PolicyView
from paddock_core.policy.wire import Change
from paddock_core.resources.llamamodel import FINALIZER
from paddock_operator.models.decide import ModelOutcome, Step, decide
from paddock_operator.models.observed import ObservedModel, parse_model
from paddock_operator.ports import Policy

from tests.operator.policy_server import demo_weights

NOW = 1_800_000_000.0


@pytest.fixture
def view(helpers: Any) -> PolicyView:
    return extended(helpers, PolicyView.empty(), *helpers.registered(), *helpers.accepted("acme-inc"))


def extended(helpers: Any, view: PolicyView, *objects: Any) -> PolicyView:
    changes = [
        Change(revision=view.revision + n, kind=helpers.KINDS[type(item)], id=item.id, body=msgspec.to_builtins(item))
        for n, item in enumerate(objects, start=1)
    ]
    return view.apply(changes)


def look(
    view: PolicyView, *, metadata: Any = None, users: tuple[str, ...] = (), expired: bool = False, **spec: Any
) -> ObservedModel:
    wanted = {"base": "smollm2-135m-instruct", "publicName": "Demo-Acme", "owner": "acme", **spec}
    place = {"name": "demo-acme", "uid": "u", "resourceVersion": "7", **(metadata or {})}
    model, problem = parse_model({"metadata": place, "spec": wanted})
    policy = Policy(view=view, expired=expired, at=NOW)
    return ObservedModel(policy=policy, catalog=packaged_catalog(), now=NOW, model=model, problem=problem, users=users)


def told(outcome: ModelOutcome) -> dict[str, tuple[str, str]]:
    return {finding.type.value: (finding.status, str(finding.reason)) for finding in outcome.findings}


WEIGHTS = {"precision": "q4_1", "format": "gguf", "bytes": 9, "source": {"kind": "local"},
           "files": [{"name": "a.gguf", "sha256": "0" * 64}]}  # fmt: skip


THE_DEMOS_WEIGHTS = {
    **WEIGHTS,
    "files": [{"name": file.name, "sha256": file.sha256, "bytes": file.bytes} for file in demo_weights().files],
}
"""Files that are known under another license."""


def test_a_new_model_gets_a_finalizer_and_is_registered(view: PolicyView) -> None:
    outcome = decide(look(view, weights=WEIGHTS))
    assert outcome.steps == (Step.ADD_FINALIZER, Step.PUT)
    assert outcome.licenses == ("paddock-demo",)
    assert told(outcome) == {
        "LicenseAccepted": ("True", "Allowed"),
        "Registered": ("False", "Registering"),
        "Servable": ("True", "Servable"),
    }


def test_what_is_registered_as_it_says_is_left_alone(view: PolicyView, helpers: Any) -> None:
    observed = look(view, weights=WEIGHTS, metadata={"finalizers": [FINALIZER]})
    known = extended(helpers, view, observed.model.registered())
    outcome = decide(replace(observed, policy=Policy(view=known, expired=False, at=NOW)))
    assert outcome.steps == ()
    assert told(outcome)["Registered"] == ("True", "Registered")


@pytest.mark.parametrize(
    ("spec", "reason"), [({"kind": "adapter", "weights": WEIGHTS}, "AdapterNotServed"), ({}, "WeightsNotRegistered")]
)
def test_what_cannot_be_served_is_registered_and_says_so(view: PolicyView, spec: dict[str, Any], reason: str) -> None:
    outcome = decide(look(view, **spec))
    assert Step.PUT in outcome.steps
    assert told(outcome)["Servable"] == ("False", reason)


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        ({"publicName": "AcmeGPT"}, {"LicenseAccepted": "NamePrefixRequired", "Registered": "NamePrefixRequired"}),
        ({"owner": "globex"}, {"LicenseAccepted": "AcceptanceMissing", "Registered": "AcceptanceMissing"}),
        ({"base": "absent"}, {"Registered": "BaseUnknown"}),
        ({"owner": "nobody"}, {"Registered": "OwnerUnknown"}),
        ({"base": 5}, {"Registered": "InvalidSpec"}),
        ({"kind": "dream"}, {"Registered": "KindUnknown"}),
        ({"kind": "distillation"}, {"Registered": "TeacherMissing"}),
        ({"kind": "merge"}, {"Registered": "ParentMissing"}),
        ({"base": "demo-acme"}, {"Registered": "LineageCycle"}),
        ({"metadata": {"name": "smollm2-135m-instruct"}}, {"Registered": "IdTaken"}),
        ({"base": "llama-2-7b-chat", "weights": THE_DEMOS_WEIGHTS}, {"Registered": "WeightsOfAnother"}),
    ],
)
def test_what_came_past_the_webhook_is_not_registered(
    view: PolicyView, spec: dict[str, Any], found: dict[str, str]
) -> None:
    outcome = decide(look(view, **spec))
    assert outcome.steps == ()
    assert told(outcome) == {kind: ("False", reason) for kind, reason in found.items()}


def test_a_bad_new_name_leaves_the_former_registration(view: PolicyView, helpers: Any) -> None:
    known = extended(helpers, view, helpers.made_model())
    outcome = decide(look(known, publicName="AcmeGPT"))
    assert outcome.steps == ()
    assert outcome.findings[-1].message.endswith("What was registered before stands, as Demo-Acme")


def test_a_cut_off_operator_knows_nothing(view: PolicyView) -> None:
    outcome = decide(look(view, expired=True))
    assert outcome.steps == ()
    assert {status for status, _ in told(outcome).values()} == {"Unknown"}


def test_a_model_in_use_is_not_dropped(view: PolicyView) -> None:
    going = {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": [FINALIZER]}
    users = tuple(f"acme/d{n}" for n in range(7))
    held = decide(look(view, metadata=going, users=users))
    assert held.steps == ()
    assert told(held) == {"Registered": ("True", "InUse")}
    assert "acme/d0, acme/d1, acme/d2, acme/d3, acme/d4 and 2 more" in held.findings[0].message
    assert held.look_after_seconds is not None
    assert held.look_after_seconds <= 10
    assert decide(look(view, metadata=going)).steps == (Step.DROP, Step.REMOVE_FINALIZER)
    assert decide(look(view, metadata={**going, "finalizers": ["other"]})).steps == ()
