"""What the cluster refuses keeps nothing else from being done, and is told. What did not come about for another reason
ends the round, and the next one tries it."""

from typing import Any

import pytest
from paddock_core.resources import names
from paddock_core.resources.conditions import ConditionReason, ConditionType, holds
from paddock_operator.decide.actions import Action, Apply, Delete, RecordResult, RemoveFinalizer, in_turn, place_of
from paddock_operator.decide.outcome import Outcome
from paddock_operator.errors import ClusterError
from paddock_operator.execute import REFUSALS, STAYS, Executor
from paddock_operator.gpu_quota import GpuLedger
from paddock_operator.kinds import EXTRAS, INFERENCE_POOL, NETWORK_POLICY, REPLICA_SET, SECRET, Kind, kind_of
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
    """Refuses one kind, by a status."""

    def __init__(self, refused: Kind, *, status: int = 422) -> None:
        self.refused = refused
        self.status = status
        self.done: list[tuple[str, str]] = []
        self.asked: list[str] = []
        """What the refused kind was asked for."""

    async def apply(self, manifest: dict[str, Any], *, subresource: str = "") -> dict[str, Any]:
        self._judge("apply", kind_of(manifest))
        return manifest

    async def delete(self, kind: Kind, **_: Any) -> bool:
        self._judge("delete", kind)
        return True

    async def merge(self, kind: Kind, **_: Any) -> dict[str, Any]:
        self._judge("merge", kind)
        return {}

    def _judge(self, verb: str, kind: Kind) -> None:
        if kind == self.refused:
            self.asked.append(verb)
            raise ClusterError(REFUSAL, status=self.status)
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


def round_of(
    refused: Kind, monkeypatch: pytest.MonkeyPatch, *, status: int = 422, actions: tuple[Action, ...] = ()
) -> tuple[Any, Cluster, Empty]:
    actions = actions or (
        Apply(manifest=manifest(refused)),
        Apply(manifest=manifest(REPLICA_SET if refused != REPLICA_SET else INFERENCE_POOL)),
        Delete(kind=refused, namespace="n", name="old"),
        Delete(kind=REPLICA_SET, namespace="n", name="old"),
    )
    serving = holds(ConditionType.SERVING, ConditionReason.SERVING, "it answers")
    outcome = Outcome(actions=actions, findings=(serving,))
    monkeypatch.setattr("paddock_operator.reconcile.decide", lambda _observed, _config: outcome)
    cluster, empty = Cluster(refused, status=status), Empty()
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


SHARED, POLICY, COPY, OTHER = manifest(SECRET), manifest(NETWORK_POLICY), manifest(REPLICA_SET), manifest(REPLICA_SET)
SHARED["metadata"]["annotations"] = {names.RENDERING: "1"}
COPY["metadata"] |= {"name": "chat-0", "labels": {names.COPY: "chat-0"}}
OTHER["metadata"] |= {"name": "chat-1"}
ROUND: tuple[Action, ...] = (
    Apply(manifest=SHARED),
    *in_turn((POLICY, COPY), needs=frozenset({place_of(SHARED)})),
    Apply(manifest=OTHER),
    Delete(kind=REPLICA_SET, namespace="n", name="old"),
)
"""What is shared, a copy of two parts that needs it, one that is there, and one that goes."""


@pytest.mark.parametrize("status", REFUSALS)
async def test_what_is_refused_keeps_only_that_from_being_made_which_needs_it(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, cluster, empty = round_of(SECRET, monkeypatch, status=status, actions=ROUND)
    assert await made.reconcile(Key("acme", "chat")) == 1.0
    assert cluster.done == [("apply", "ReplicaSet"), ("delete", "ReplicaSet")]
    (outcome,) = empty.told
    assert f"refuses {REFUSAL}, and nothing is made that needs it" in outcome.refused
    (serving,) = outcome.findings
    assert serving.status == "True"
    assert outcome.refused in serving.message


async def test_a_part_of_a_copy_that_is_refused_keeps_its_other_parts_and_no_other_copy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made, cluster, _ = round_of(NETWORK_POLICY, monkeypatch, actions=ROUND)
    await made.reconcile(Key("acme", "chat"))
    assert cluster.done == [("apply", "Secret"), ("apply", "ReplicaSet"), ("delete", "ReplicaSet")]


@pytest.mark.parametrize("status", [0, 409, 429, 500, 503])
@pytest.mark.parametrize("kind", [SECRET, REPLICA_SET], ids=lambda kind: kind.name)
async def test_what_was_not_answered_or_may_come_later_is_no_refusal(
    kind: Kind, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, cluster, empty = round_of(kind, monkeypatch, status=status, actions=ROUND)
    with pytest.raises(ClusterError):
        await made.reconcile(Key("acme", "chat"))
    assert ("delete", "ReplicaSet") not in cluster.done, "the round ends, and the next one does all of it"
    (outcome,) = empty.told
    assert outcome.refused == "", "no rollout is judged by it"
    assert outcome.findings[0].message == f"it answers; but {REFUSAL}; it is tried again"


GOES: tuple[Action, ...] = (
    Delete(kind=SECRET, namespace="n", name="a"),
    Apply(manifest=COPY),
    Delete(kind=REPLICA_SET, namespace="n", name="b"),
    RemoveFinalizer(resource_version="1"),
)


@pytest.mark.parametrize("status", STAYS)
async def test_what_may_not_go_keeps_nothing_else_from_going_or_coming(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, cluster, empty = round_of(SECRET, monkeypatch, status=status, actions=GOES)
    with pytest.raises(ClusterError, match=REFUSAL):
        await made.reconcile(Key("acme", "chat"))
    assert cluster.done == [("apply", "ReplicaSet"), ("delete", "ReplicaSet")], "and nothing forgets that it is there"
    assert empty.told[0].findings[0].message == f"it answers; but {REFUSAL}; it is tried again"


async def test_what_could_not_be_noted_of_an_object_keeps_that_object_and_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gone: tuple[Action, ...] = tuple(Delete(kind=SECRET, namespace="n", name=name) for name in ("noted", "other"))
    noted = RecordResult(kind=REPLICA_SET, namespace="n", name="noted", result="{}")
    same = Delete(kind=REPLICA_SET, namespace="n", name="noted")
    made, cluster, _ = round_of(REPLICA_SET, monkeypatch, status=403, actions=(noted, same, *gone))
    with pytest.raises(ClusterError, match=REFUSAL):
        await made.reconcile(Key("acme", "chat"))
    assert cluster.done == [("delete", "Secret")] * 2
    assert cluster.asked == ["merge"], "its evidence is not there, so it is not deleted either"


def test_each_part_needs_the_former_ones() -> None:
    first, second = in_turn((POLICY, COPY), needs=frozenset({place_of(SHARED)}))
    assert first.needs == {place_of(SHARED)}
    assert second.needs == {place_of(SHARED), place_of(POLICY)}
