"""What pods serve without may be refused by the cluster: the rest of the round is done, and the refusal is told."""

from typing import Any

import pytest
from paddock_core.resources.conditions import ConditionReason, ConditionType, holds
from paddock_operator.decide.actions import Apply, Delete
from paddock_operator.decide.outcome import Outcome
from paddock_operator.errors import ClusterError
from paddock_operator.execute import Executor
from paddock_operator.gpu_quota import GpuLedger
from paddock_operator.kinds import EXTRAS, INFERENCE_POOL, REPLICA_SET, Kind, kind_of
from paddock_operator.observed import Observed
from paddock_operator.ports import Key
from paddock_operator.reconcile import REFUSED_RETRY_SECONDS, Reconciler
from paddock_operator.telemetry import Telemetry

REFUSAL = "spec is invalid"
DEFAULT: Any = None
KINDS = sorted(EXTRAS, key=lambda kind: kind.name)


def manifest(kind: Kind) -> dict[str, Any]:
    metadata = {"namespace": "n", "name": "chat", "annotations": {}}
    return {"apiVersion": kind.api_version, "kind": kind.name, "metadata": metadata}


class Cluster:
    """Refuses one kind."""

    def __init__(self, refused: Kind) -> None:
        self.refused = refused
        self.done: list[tuple[str, str]] = []

    async def apply(self, manifest: dict[str, Any], *, subresource: str = "") -> dict[str, Any]:
        self._judge("apply", kind_of(manifest))
        return manifest

    async def delete(self, kind: Kind, **_: Any) -> bool:
        self._judge("delete", kind)
        return True

    def _judge(self, verb: str, kind: Kind) -> None:
        if kind == self.refused:
            raise ClusterError(REFUSAL, status=422)
        self.done.append((verb, kind.name))


class Empty:
    """A cache and a gatherer that know nothing, and a reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[Outcome] = []

    def find(self, kind: Kind, **_: Any) -> None:
        return None

    async def fresh(self, key: Key) -> None:
        """Nobody has it, so what is to go has no owner."""

    async def gather(self, key: Key) -> Observed:
        return Observed(key=key, now=0.0, catalog=DEFAULT, policy=DEFAULT)

    async def report(self, observed: Observed, outcome: Outcome) -> bool:
        self.told.append(outcome)
        return True


def round_of(refused: Kind, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Cluster, Empty]:
    actions = (
        Apply(manifest=manifest(refused)),
        Apply(manifest=manifest(REPLICA_SET if refused != REPLICA_SET else INFERENCE_POOL)),
        Delete(kind=refused, namespace="n", name="old"),
        Delete(kind=REPLICA_SET, namespace="n", name="old"),
    )
    serving = holds(ConditionType.SERVING, ConditionReason.SERVING, "it answers")
    outcome = Outcome(actions=actions, findings=(serving,))
    monkeypatch.setattr("paddock_operator.reconcile.decide", lambda _observed, _config: outcome)
    cluster, empty = Cluster(refused), Empty()
    own: Any = cluster
    part: Any = empty
    made = Reconciler(
        gatherer=part,
        documents=part,
        executor=Executor(cluster=own, control_plane=DEFAULT, cache=part, documents=part, config=DEFAULT),
        reporter=part,
        ledger=GpuLedger(given=0, term=lambda: 0, wake=lambda _key: None),
        config=DEFAULT,
        telemetry=Telemetry(),
        denied=lambda _observed, _outcome: None,
    )
    return made, cluster, empty


@pytest.mark.parametrize("kind", KINDS)
async def test_the_round_goes_on_and_tells_it(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    made, cluster, empty = round_of(kind, monkeypatch)
    assert await made.reconcile(Key("acme", "chat")) == REFUSED_RETRY_SECONDS
    assert cluster.done == [("apply", "ReplicaSet"), ("delete", "ReplicaSet")]
    finding = empty.told[0].findings[0]
    assert finding.status == "True"
    assert finding.message.startswith("it answers; refused beside that")
    assert f"{kind.name}: {REFUSAL}" in finding.message


async def test_what_pods_need_ends_the_round_and_is_told_beside_a_condition_that_holds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made, cluster, empty = round_of(REPLICA_SET, monkeypatch)
    with pytest.raises(ClusterError):
        await made.reconcile(Key("acme", "chat"))
    assert cluster.done == []
    assert empty.told[0].findings[0].message == f"it answers; but {REFUSAL}; it is tried again"
