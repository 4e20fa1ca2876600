"""What the keeper of namespaces writes and leaves alone: by one look each, on a cluster that notes every write."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from paddock_core.policy.documents import Namespace, Tenant
from paddock_core.policy.view import PolicyView
from paddock_core.resources import names
from paddock_operator.errors import NotFoundError
from paddock_operator.kinds import LOCAL_QUEUES, NAMESPACE, RESOURCE_QUOTA, ROLE_BINDING, Kind
from paddock_operator.ports import Listing, Policy, Reduce, WatchEvent, whole
from paddock_operator.tenancy.keeper import TenancyKeeper
from paddock_operator.tenancy.wanted import Rules

from tests.operator.clocks import Clock

SERVING = names.serving_namespace("acme")
VIEW = PolicyView(
    revision=1,
    tenants={"acme": Tenant(id="acme", entity="acme", gpus=16)},
    namespaces={"chat": Namespace(id="chat", tenant="acme"), "going": Namespace(id="going", tenant="acme")},
)
GOING = {"deletionTimestamp": "2026-01-01T00:00:00Z"}


class Cluster:
    """Lists what it was given; a watch tells nothing more."""

    def __init__(self, objects: dict[Kind, list[dict[str, Any]]], *, lacks: tuple[Kind, ...] = LOCAL_QUEUES) -> None:
        self._objects = objects
        self._lacks = lacks
        self.applied: list[tuple[str, str]] = []
        self.deleted: list[tuple[str, str, str]] = []

    async def list(self, kind: Kind, *, selector: str = "", reduce: Reduce = whole) -> Listing:
        if kind in self._lacks:
            raise NotFoundError("no such API", status=404)
        return Listing([reduce(item) for item in self._objects.get(kind, [])], "1")

    async def watch(self, kind: Kind, *, selector: str = "", revision: str) -> AsyncIterator[WatchEvent]:
        await asyncio.Event().wait()
        yield WatchEvent("BOOKMARK", {})

    async def apply(self, manifest: dict[str, Any], **_: Any) -> dict[str, Any]:
        self.applied.append((manifest["kind"], manifest["metadata"]["namespace"]))
        return manifest

    async def delete(self, kind: Kind, *, namespace: str, name: str, uid: str, **_: Any) -> bool:
        self.deleted.append((kind.name, namespace, name))
        return True


class Source:
    def __init__(self, *, expired: bool) -> None:
        self._policy = Policy(view=VIEW, expired=expired, at=0.0)

    def current(self) -> Policy:
        return self._policy


def item(name: str, namespace: str = "", **more: Any) -> dict[str, Any]:
    place = {"namespace": namespace} if namespace else {}
    return {"metadata": {"name": name, "uid": f"uid-{name}", "resourceVersion": "1", **place, **more}}


NAMESPACES = [item("chat"), item("going", **GOING), item(SERVING)]


async def looked(cluster: Cluster, *, expired: bool = False, cluster_queue: str = "") -> Cluster:
    """After one look."""
    keeper = TenancyKeeper(
        cluster=cluster,  # type: ignore[arg-type]
        clock=Clock(),
        policy=Source(expired=expired),
        rules=Rules(given_gpus=0, gpu_resource="nvidia.com/gpu", pods=50, cluster_queue=cluster_queue),
        granted=lambda _view: {},
        served=lambda: frozenset(LOCAL_QUEUES if cluster_queue else ()),
    )
    tasks = [asyncio.create_task(reflector.run()) for reflector in keeper.reflectors()]
    try:
        for reflector in keeper.reflectors():
            await asyncio.wait_for(reflector.synced.wait(), timeout=30.0)
        await keeper.look()
    finally:
        for task in tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
    return cluster


async def test_what_is_missing_is_written_but_not_where_a_namespace_is_going() -> None:
    done = await looked(Cluster({NAMESPACE: NAMESPACES}))
    assert ("RoleBinding", "chat") in done.applied
    assert ("ResourceQuota", SERVING) in done.applied
    assert "going" not in {namespace for _kind, namespace in done.applied}


@pytest.mark.parametrize("expired", [True, False])
async def test_an_expired_policy_changes_nothing(expired: bool) -> None:
    lost = item(names.TENANT_BINDING, "lost")
    done = await looked(Cluster({NAMESPACE: NAMESPACES, ROLE_BINDING: [lost]}), expired=expired)
    assert (done.applied == []) is expired
    assert done.deleted == ([] if expired else [("RoleBinding", "lost", names.TENANT_BINDING)])


async def test_a_binding_of_somebody_else_with_our_labels_is_left_alone() -> None:
    done = await looked(Cluster({NAMESPACE: NAMESPACES, ROLE_BINDING: [item("theirs", "lost")]}))
    assert done.deleted == []


@pytest.mark.parametrize("cluster_queue", ["gpus", ""])
async def test_a_queue_goes_when_the_platform_names_no_cluster_queue_any_more(cluster_queue: str) -> None:
    queues = [item(names.QUEUE, SERVING), item("theirs", SERVING), item(names.QUEUE, "chat")]
    cluster = Cluster({NAMESPACE: NAMESPACES, LOCAL_QUEUES[0]: queues, RESOURCE_QUOTA: []}, lacks=LOCAL_QUEUES[1:])
    done = await looked(cluster, cluster_queue=cluster_queue)
    assert done.deleted == ([] if cluster_queue else [("LocalQueue", SERVING, names.QUEUE)])
