"""A grant of GPUs is in the status before anything is created with it, and is looked at and booked in one step."""

import asyncio
from typing import Any

import pytest
from msgspec import structs
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.policy.documents import Namespace, Tenant
from paddock_core.policy.view import PolicyView
from paddock_core.resources import names
from paddock_core.resources.conditions import ConditionReason, ConditionType, fails, holds
from paddock_core.resources.llamadeployment import QuotaStatus
from paddock_operator.decide.actions import Action, AddFinalizer, Apply
from paddock_operator.decide.outcome import Life, Outcome
from paddock_operator.errors import ClusterError
from paddock_operator.execute import Done
from paddock_operator.gpu_quota import GpuLedger, Mark
from paddock_operator.observed import Observed, parse
from paddock_operator.ports import Key, Policy
from paddock_operator.reconcile import Reconciler
from paddock_operator.telemetry import Telemetry

DEFAULT: Any = None
VIEW = PolicyView(
    revision=1,
    tenants={"acme": Tenant(id="acme", entity="acme", gpus=24)},
    namespaces={"acme": Namespace(id="acme", tenant="acme")},
)
POD = {"metadata": {"annotations": {names.GPUS: "8"}}}
COPY = {
    "apiVersion": "apps/v1",
    "kind": "ReplicaSet",
    "metadata": {"namespace": "s", "name": "copy"},
    "spec": {"replicas": 1, "template": POD},
}


class Parts:
    """Gatherer, executor and reporter in one: what they are asked for, in order."""

    def __init__(self, *, noted: int = 0, fails_to_create: bool = False) -> None:
        self.noted = noted
        self.fails_to_create = fails_to_create
        self.done: list[str] = []
        self.ledger = GpuLedger(given=0, term=lambda: 1, wake=lambda _key: None)
        self.ledger.listed([], Mark(set(), 1))

    async def gather(self, key: Key) -> Observed:
        await asyncio.sleep(0)
        quota = {"quota": {"gpus": self.noted, "limit": 24}} if self.noted else {}
        metadata = {"namespace": key.namespace, "name": key.name, "uid": "u", "resourceVersion": "1"}
        deployment, _ = parse({"metadata": metadata, "spec": {"model": {"id": "m"}}, "status": quota})
        return Observed(
            key=key,
            now=0.0,
            catalog=packaged_catalog(),
            policy=Policy(view=VIEW, expired=False, at=0.0),
            deployment=deployment,
            charged=self.ledger.charged(key, created="", view=VIEW),
        )

    async def execute(self, actions: Any, observed: Observed) -> Done:
        for action in actions:
            await asyncio.sleep(0)
            if self.fails_to_create and isinstance(action, Apply):
                raise ClusterError("the process is killed here")
            self.done.append(f"{type(action).__name__}")
        return Done(len(actions))

    async def report(self, observed: Observed, outcome: Outcome) -> bool:
        quota = outcome.life.quota
        self.done.append(f"status {0 if quota is None else quota.gpus}")
        return True


def decided(observed: Observed) -> Outcome:
    """Eight GPUs where there is room, and the copy that takes them."""
    charged = observed.charged
    if charged.granted < 8 and charged.others + 8 > 24:
        finding = fails(ConditionType.QUOTA_AVAILABLE, ConditionReason.GPU_QUOTA_EXCEEDED, "")
        return Outcome(findings=(finding,), life=Life(quota=QuotaStatus(gpus=0, limit=24, wanted=8)))
    actions: tuple[Action, ...] = (AddFinalizer(resource_version="1"), Apply(manifest=COPY))
    finding = holds(ConditionType.QUOTA_AVAILABLE, ConditionReason.QUOTA_AVAILABLE, "")
    return Outcome(actions=actions, findings=(finding,), life=Life(quota=QuotaStatus(gpus=8, limit=24)))


def reconciler(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> Reconciler:
    monkeypatch.setattr("paddock_operator.reconcile.decide", lambda observed, _config: decided(observed))
    part: Any = parts
    return Reconciler(
        gatherer=part,
        documents=part,
        executor=part,
        reporter=part,
        ledger=parts.ledger,
        config=DEFAULT,
        telemetry=Telemetry(),
        denied=lambda _observed, _outcome: None,
    )


async def test_the_status_is_written_before_the_copy_and_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = Parts()
    await reconciler(parts, monkeypatch).reconcile(Key("acme", "a"))
    assert parts.done == ["AddFinalizer", "status 8", "Apply"]


async def test_a_grant_that_is_written_already_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = Parts(noted=8)
    await reconciler(parts, monkeypatch).reconcile(Key("acme", "a"))
    assert parts.done == ["AddFinalizer", "Apply", "status 8"]


async def test_a_process_that_dies_before_the_copy_has_told_of_the_grant(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = Parts(fails_to_create=True)
    with pytest.raises(ClusterError):
        await reconciler(parts, monkeypatch).reconcile(Key("acme", "a"))
    assert parts.done[:2] == ["AddFinalizer", "status 8"]


async def test_eight_workers_grant_no_gpu_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = Parts()
    made = reconciler(parts, monkeypatch)
    await asyncio.gather(*(made.reconcile(Key("acme", f"d{number}")) for number in range(8)))
    assert parts.done.count("Apply") == 3
    assert parts.ledger.of_tenants(VIEW) == {"acme": 24}


async def test_what_is_gone_gives_back_what_it_had(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = Parts()
    made = reconciler(parts, monkeypatch)
    await made.reconcile(Key("acme", "a"))
    monkeypatch.setattr("paddock_operator.reconcile.decide", lambda _observed, _config: Outcome())
    look = parts.gather

    async def gone(key: Key) -> Observed:
        return structs.replace(await look(key), deployment=None)

    parts.gather = gone  # type: ignore[method-assign]
    await made.reconcile(Key("acme", "a"))
    assert parts.ledger.of_tenants(VIEW) == {}
