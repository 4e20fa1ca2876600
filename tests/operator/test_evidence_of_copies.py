"""What pods show of a copy: ends that count, who ended them, and what is kept as evidence."""

from typing import Any

import pytest
from paddock_operator.decide import counted, evidence, patients
from paddock_operator.decide.patients import Patient
from paddock_operator.observed import Child
from paddock_operator.times import format_time

from tests.operator.test_healing import CRASH, GPU, OOM, START, group, pod, unplaced, workload

ENDED = {"terminated": CRASH}
WAITS = {"waiting": {"reason": "CrashLoopBackOff"}}


def patient(*pods: Child, size: int = 1) -> Patient:
    return Patient(name="chat-r-0", revision="chat-r", size=size, workload=workload(), pods=pods)


@pytest.mark.parametrize(
    ("shows", "ends"),
    [
        ({"restarts": 2}, 2),
        ({"restarts": 2, "left": CRASH}, 2),
        ({"state": ENDED}, 1),
        ({"restarts": 1, "state": ENDED}, 2),
        ({"restarts": 1, "state": ENDED, "going": True}, 1),
        ({"state": WAITS}, 0),
        ({"state": WAITS, "left": CRASH}, 1),
        ({"restarts": 1, "state": WAITS, "left": CRASH, "going": True}, 1),
    ],
    ids=[
        "runs after two",
        "runs and tells of the last",
        "has ended",
        "has ended again",
        "ends of being deleted",
        "has not begun",
        "waits to be begun again",
        "waits while it is deleted",
    ],
)
def test_how_often_containers_of_a_pod_have_ended(shows: dict[str, Any], ends: int) -> None:
    assert evidence.endings(pod("a", **shows).manifest) == ends


@pytest.mark.parametrize(
    ("shows", "excused"),
    [
        ({"conditions": [{"type": "DisruptionTarget", "status": "True"}]}, True),
        ({"conditions": [{"type": "DisruptionTarget", "status": "False"}]}, False),
        ({"conditions": [{"type": "Ready", "status": "True"}]}, False),
        ({"phase": "Failed", "reason": "NodeShutdown"}, True),
        ({"phase": "Failed", "reason": "Evicted", "containerStatuses": []}, True),
        ({"phase": "Failed", "reason": "UnexpectedAdmissionError"}, True),
        ({"phase": "Failed", "reason": "UnexpectedAdmissionError", "containerStatuses": []}, False),
        ({"phase": "Failed"}, False),
        ({"phase": "Running", "reason": "Evicted"}, False),
    ],
)
def test_who_ended_a_pod(shows: dict[str, Any], excused: bool) -> None:
    assert evidence.is_excused(pod("a", **shows).manifest) is excused


class TestWhatIsKept:
    def test_the_end_that_it_shows_goes_before_the_one_before_it(self) -> None:
        left = evidence.left_by([pod("a", state={"terminated": OOM}, left=CRASH).manifest])
        assert left is not None
        assert (left.reason, left.at) == ("EngineOOM", OOM["finishedAt"])

    def test_of_one_that_is_deleted_what_ended_it_before_is_told(self) -> None:
        left = evidence.left_by([pod("a", state={"terminated": OOM}, left=CRASH, going=True).manifest])
        assert left is not None
        assert (left.reason, left.at) == ("CrashLooping", CRASH["finishedAt"])
        assert evidence.left_by([pod("a", state={"terminated": OOM}, going=True).manifest]) is None

    def test_of_two_ends_of_a_kind_the_first_is_told(self) -> None:
        early, late = {**CRASH, "finishedAt": "2027-01-15T08:00:01Z"}, {**CRASH, "finishedAt": "2027-01-15T08:00:02Z"}
        left = evidence.left_by([pod("a", left=late).manifest, pod("b", left=early).manifest])
        assert left is not None
        assert left.pod == "chat-b"

    def test_words_are_kept_up_to_a_bound(self) -> None:
        told = "GpuMissing: " + "x" * 5000 + " the end"
        left = evidence.left_by([pod("a", left={**OOM, "message": told}).manifest])
        assert left is not None
        assert len(left.message) == evidence.MAX_WORDS
        assert left.message.endswith("the end")

    def test_of_a_group_that_was_placed_in_part_the_schedulers_words_are_kept(self) -> None:
        waits = unplaced("a", worker=1, since=START).manifest
        waits["status"]["conditions"][0]["message"] += " x" * 2500
        kept = evidence.of_placement([pod("l", worker=0).manifest, waits], gpu=GPU)
        assert (kept.pod, kept.container, kept.reason) == ("chat-a", "", "InsufficientGPU")
        assert "2 Insufficient nvidia.com/gpu" in kept.message
        assert len(kept.message) <= evidence.MAX_WORDS


class TestPods:
    def test_the_leader_of_a_group_is_found_wherever_it_stands(self) -> None:
        leader, worker = group()
        found = patient(worker, leader, size=2)
        assert (found.leader, found.workers) == (leader, [worker])

    def test_a_group_waits_for_nodes_of_pods_that_go_and_a_pod_alone_does_not(self) -> None:
        goes = pod("a", worker=1, node="gpu-2", going=True)
        assert patient(pod("l", worker=0), goes, size=2).nodes == {"gpu-1", "gpu-2"}
        assert patient(pod("b"), pod("a", node="gpu-2", going=True)).nodes == {"gpu-1"}

    def test_ends_of_another_pod_are_not_those_of_the_one_alone_that_answers(self) -> None:
        goes = pod("a", restarts=3, going=True)
        assert patient(goes).present() == []
        assert [item.uid for item in patient(goes, pod("b")).present()] == ["b"]

    def test_devices_are_what_is_asked_for_in_whole_numbers(self) -> None:
        asks = pod("a")
        limits = {GPU: "2", "example.com/memory": "1Gi", "memory": "64"}
        asks.manifest["spec"]["containers"] = [{"resources": {"limits": limits}}, {"name": "proxy"}]
        assert patients.devices_of(asks) == 2

    def test_since_when_it_is_ready_or_placed_or_waits(self) -> None:
        unready = {"type": "Ready", "status": "False", "lastTransitionTime": format_time(START + 9)}
        assert patients.ready_since(pod("a", conditions=[unready])) is None
        assert patients.placed_since(pod("a", born=START + 5)) == START + 5
        assert patients.unplaced_since(unplaced("a", worker=0, since=START + 7)) == START + 7
        untimed = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
        assert patients.unplaced_since(pod("a", node=None, born=START + 5, conditions=[untimed])) == START + 5
        assert patients.unplaced_since(pod("a", conditions=[untimed])) is None
        nameless = pod("a")
        del nameless.manifest["metadata"]["creationTimestamp"]
        assert patients.created(nameless) == 0.0


def test_a_digest_is_of_the_words_whatever_their_order_and_empty_for_none() -> None:
    assert counted.digest(["b", "a", ""]) == counted.digest(["a", "b"])
    assert counted.digest(["ab"]) != counted.digest(["a", "b"])
    assert len(counted.digest(["a"])) == 12
    assert counted.digest([""]) == ""
