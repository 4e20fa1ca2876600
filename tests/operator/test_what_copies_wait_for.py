"""What a copy that comes up waits for, and since when nothing has happened to it."""

from dataclasses import replace
from typing import Any

import pytest
from paddock_core.resources.conditions import ConditionReason
from paddock_operator.decide import coming
from paddock_operator.decide.copies import Copy
from paddock_operator.decide.outcome import Coming
from paddock_operator.kinds import POD, REPLICA_SET
from paddock_operator.observed import Child
from paddock_operator.times import format_time

START = 1_800_000_000.0
OURS = {"name": "triton", "ready": False, "state": {"running": {}}}
THEIRS = {"name": "proxy", "ready": False, "state": {"running": {}}}


def at(seconds: float) -> str:
    return format_time(START + seconds)


def pod(name: str = "p", *, node: str = "n", containers: Any = (), made: float = 0.0, **status: Any) -> Child:
    metadata = {"name": name, "namespace": "s", "uid": name, "creationTimestamp": at(made)}
    spec = {"containers": list(containers), **({"nodeName": node} if node else {})}
    return Child(kind=POD, manifest={"metadata": metadata, "spec": spec, "status": status})


def copy(*pods: Child, **changes: Any) -> Copy:
    fields = {"name": "chat-r-0", "revision": "chat-r", "index": 0, "workload": None, "pods": pods, "born_at": START}
    made = Child(kind=REPLICA_SET, manifest={"metadata": {"name": "chat-r-0", "namespace": "s", "uid": "w"}})
    return Copy(**{**fields, "workload": made, **changes})


def told(*pods: Child, **changes: Any) -> Coming:
    (found,) = coming.of([copy(*pods, **changes)])
    return found


def up(*statuses: dict[str, Any], **more: Any) -> Child:
    """A pod of which the node has made these containers."""
    return pod(phase="Running", startTime=at(0), containerStatuses=list(statuses), **more)


class TestWho:
    def test_those_that_are_to_answer_and_do_not_the_longest_first(self) -> None:
        late, soon = copy(up(OURS), name="late-0", born_at=START), copy(up(OURS), name="soon-0", born_at=START + 9)
        found = coming.of([soon, late, copy(answering=True), copy(draining_since=START), copy(workload=None)])
        assert [item.since for item in found] == [START, START + 9]


class TestWhat:
    def test_a_pod_that_nobody_has_made(self) -> None:
        found = told()
        assert found.reason is ConditionReason.PODS_PENDING
        words = "copy chat-r-0 waits for its pod, which the controller of its ReplicaSet makes, since "
        assert found.text == words + at(0)

    def test_pods_of_a_group_that_lack_and_one_of_before_that_stays(self) -> None:
        over = pod("over", phase="Failed")
        found = told(up(OURS), over, size=3, leaving=(pod("old", node="m"), pod("older")))
        assert "waits for 2 of its 3 pods" in found.text
        assert "; pod old on m of before has not ended, since" in found.text

    @pytest.mark.parametrize(
        ("waits", "words"),
        [
            (pod(node=""), "pod p waits for a node, and no scheduler has said anything of it"),
            (pod(phase="Pending"), "pod p on n waits for the node's kubelet to take it up"),
            (up({**OURS, "state": {"waiting": {"reason": "PodInitializing"}}}), "pod p on n waits for its containers"),
            (up({**OURS, "ready": True}, THEIRS), "waits for its container proxy, which is not Paddock's"),
        ],
        ids=["a node", "a kubelet", "containers", "a container of others"],
    )
    def test_what_a_pod_lacks(self, waits: Child, words: str) -> None:
        found = told(waits)
        assert (found.reason, found.patience_seconds) == (ConditionReason.PODS_PENDING, 0.0)
        assert words in found.text
        assert found.text.endswith(f", since {format_time(found.since)}")

    @pytest.mark.parametrize(
        "loads",
        [
            up(OURS),
            up(OURS, THEIRS),
            up({**OURS, "ready": True}, {**THEIRS, "ready": True}),
            pod(phase="Pending", startTime=at(0)),
            pod(phase="Pending", containerStatuses=[OURS]),
            pod(phase="Running"),
        ],
        ids=["ours", "both", "all ready", "taken up", "with containers", "runs"],
    )
    def test_the_engine_where_nothing_else_lacks(self, loads: Child) -> None:
        found = told(loads)
        assert found.reason is ConditionReason.LOADING
        assert found.text.startswith("the engine is loading the weights: pod p on n, since ")

    def test_a_workers_engine_is_ours_too(self) -> None:
        worker = {**OURS, "name": "worker"}
        assert told(up(worker, {**THEIRS, "ready": True})).reason is ConditionReason.LOADING

    def test_of_a_group_the_pod_that_lacks_something_is_told_and_else_its_leader(self) -> None:
        assert "pod q waits for a node" in told(up(OURS), pod("q", node=""), size=2).text
        leader = pod("q", phase="Running")
        assert ": pod q on n, " in told(up(OURS), leader, size=2, leader=leader).text


class TestSinceWhen:
    @pytest.mark.parametrize(
        "happened",
        [
            {"made": 70.0},
            {"startTime": at(70)},
            {"conditions": [{"type": "PodScheduled", "lastTransitionTime": at(70)}, {"type": "Ready"}]},
            {"containerStatuses": [{**OURS, "state": {"running": {"startedAt": at(70)}}}]},
            {"initContainerStatuses": [{"name": "i", "state": {"running": {"startedAt": at(70)}}}]},
        ],
        ids=["made", "taken up", "a condition", "a container", "what runs before"],
    )
    def test_the_last_that_happened_to_a_pod(self, happened: dict[str, Any]) -> None:
        assert told(up(OURS), pod("q", **happened), size=2).since == START + 70.0

    def test_the_copys_own_birth_where_nothing_has_happened_since(self) -> None:
        assert told(born_at=START + 5).since == START + 5
        assert told(up(OURS), born_at=START + 5).since == START + 5

    def test_a_pod_of_before_that_was_told_to_go(self) -> None:
        goes = pod("old")
        goes.manifest["metadata"]["deletionTimestamp"] = at(33)
        assert told(leaving=(goes,)).since == START + 33.0


class TestForHowLong:
    def test_a_container_is_left_alone_for_as_long_as_the_longest_probe_says(self) -> None:
        probed = {"name": "triton", "startupProbe": {"periodSeconds": 5, "failureThreshold": 100}}
        usual = {"name": "proxy", "startupProbe": {"httpGet": {}}}
        one = pod(phase="Running", containers=[usual, probed, {"name": "bare"}])
        assert told(one).patience_seconds == 500.0
        assert told(replace(one, manifest={**one.manifest, "spec": {"nodeName": "n", "containers": [usual]}})
                    ).patience_seconds == 30.0  # fmt: skip
        assert told(up(OURS)).patience_seconds == 0.0
