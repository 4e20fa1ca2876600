"""Pods that their node refuses before they run: what counts as one, how often, and where the next one goes."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from paddock_core.resources import names
from paddock_core.resources.llamadeployment import CopyStatus
from paddock_operator.decide import counted, healing
from paddock_operator.decide.bad_nodes import avoided
from paddock_operator.decide.healing import HealingRules
from paddock_operator.decide.node_faults import NO_FAULTS, NodeFaults
from paddock_operator.decide.patients import Patient
from paddock_operator.decide.refusals import is_refused, is_taken_up
from paddock_operator.decide.verdicts import Verdict
from paddock_operator.kinds import POD, REPLICA_SET
from paddock_operator.observed import Child
from paddock_operator.times import format_time, parse_time

START = 1_800_000_000.0
RULES = HealingRules()
WORDS = "Allocate failed due to no healthy devices present"
REFUSED: dict[str, Any] = {"phase": "Failed", "reason": "UnexpectedAdmissionError", "message": WORDS}
PENDING: dict[str, Any] = {"phase": "Pending"}
CREATING: dict[str, Any] = {
    "phase": "Pending",
    "containerStatuses": [{"name": "triton", "state": {"waiting": {"reason": "ContainerCreating"}}}],
}
DISRUPTED = {"conditions": [{"type": "DisruptionTarget", "status": "True"}]}


def pod(uid: str, status: dict[str, Any], *, node: str = "gpu-1", of: str = "w1", born: float = START) -> Child:
    owner = {"kind": "ReplicaSet", "name": "chat-r-0", "uid": of, "controller": True}
    created = format_time(born)
    metadata = {"name": f"chat-{uid}", "namespace": "s", "uid": uid, "creationTimestamp": created}
    return Child(
        kind=POD,
        manifest={
            "metadata": {**metadata, "labels": {}, "ownerReferences": [owner]},
            "spec": {"containers": [], "nodeName": node},
            "status": status,
        },
    )


def statuses(**status: Any) -> dict[str, Any]:
    return {"containerStatuses": [{"name": "triton", **status}]}


@pytest.mark.parametrize(
    ("status", "refused"),
    [
        (REFUSED, True),
        ({**REFUSED, "reason": "OutOfcpu"}, True),
        ({**REFUSED, "reason": "NodeAffinity"}, True),
        ({**REFUSED, **statuses(state={"waiting": {"reason": "PodInitializing"}})}, True),
        ({**REFUSED, **statuses(state={"terminated": {"exitCode": 137}})}, False),
        ({**REFUSED, **statuses(state={"waiting": {}}, lastState={"terminated": {"exitCode": 1}})}, False),
        ({**REFUSED, **statuses(state={"waiting": {}}, restartCount=1)}, False),
        ({**REFUSED, "initContainerStatuses": [{"name": "a", "state": {"running": {}}}]}, False),
        ({**REFUSED, **DISRUPTED}, False),
        ({**REFUSED, "reason": ""}, False),
        ({**REFUSED, "phase": "Running"}, False),
        *(
            ({**REFUSED, "reason": reason}, False)
            for reason in ("Evicted", "NodeShutdown", "Preempted", "Preempting", "Shutdown", "Terminated")
        ),
    ],
)
def test_what_counts_as_refused(status: dict[str, Any], refused: bool) -> None:
    assert is_refused(pod("a", status).manifest) is refused


@pytest.mark.parametrize(("status", "taken"), [(PENDING, False), (CREATING, True), ({"phase": "Running"}, True)])
def test_when_a_node_has_taken_a_pod_up(status: dict[str, Any], taken: bool) -> None:
    assert is_taken_up(pod("a", status).manifest) is taken


@dataclass
class Case:
    """One copy over some rounds, each looked at twice; its workload is made anew when healing has taken it down."""

    now: float = START
    size: int = 1
    record: CopyStatus | None = None
    made: list[str] = field(default_factory=lambda: ["w1"])

    def workload(self) -> Child:
        created = format_time(START)
        metadata = {"name": "chat-r-0", "namespace": "s", "uid": self.made[-1], "creationTimestamp": created}
        return Child(kind=REPLICA_SET, manifest={"metadata": metadata})

    def look(self, *pods: Child, there: bool = True, answers: bool = False) -> Verdict:
        workload = self.workload() if there else None
        patient = Patient(name="chat-r-0", revision="r", size=self.size, workload=workload, pods=pods, answers=answers)
        for _ in range(2):
            verdict = healing.judge(patient, former=self.record, now=self.now, rules=RULES)
            self.record = verdict.record
        return verdict

    def anew(self) -> str:
        self.made.append(f"w{len(self.made) + 1}")
        return self.made[-1]

    @property
    def failures(self) -> int:
        return 0 if self.record is None else self.record.failures


def test_the_first_refusal_takes_it_down_at_once_and_it_may_come_back_at_once() -> None:
    case = Case()
    verdict = case.look(pod("a", REFUSED), pod("b", PENDING))
    assert (verdict.down, verdict.held, verdict.silent, case.failures) == (True, False, True, 1)
    assert verdict.cause is not None
    assert WORDS in verdict.cause.message
    assert "pod chat-a on gpu-1" in verdict.cause.message
    gone = case.look(there=False)
    assert (gone.held, case.failures) == (False, 1)
    assert gone.cause is not None, "why it is not there is told meanwhile"


def test_many_refused_pods_of_one_workload_are_one_failure() -> None:
    case = Case()
    case.look(pod("a", REFUSED), pod("b", PENDING))
    case.look(*(pod(uid, REFUSED, born=START + 5) for uid in "abcdef"), pod("g", PENDING))
    assert case.failures == 1
    uid = case.anew()
    left_over = [pod(uid, REFUSED) for uid in "abc"]
    case.look(*left_over, pod("h", PENDING, of=uid))
    assert case.failures == 1, "pods of the former workload that are not gone yet are none of this one"
    case.look(*left_over, pod("h", REFUSED, of=uid))
    assert case.failures == 2


@given(refused=st.integers(min_value=1, max_value=12))
def test_its_budget_and_pauses_are_those_of_any_failure(refused: int) -> None:
    case, uid = Case(), "w1"
    for _ in range(refused):
        verdict = case.look(pod("a", REFUSED, of=uid))
        assert verdict.down
        if case.failures >= RULES.budget:
            break
        assert case.record is not None
        waits = parse_time(case.record.retry_at) - case.now
        assert waits == healing.pause_seconds(case.failures, rules=RULES)
        assert verdict.held == (waits > 0)
        case.now += waits
        uid = case.anew()
    assert case.failures == min(refused, RULES.budget)
    assert verdict.failed_for_good == (refused >= RULES.budget)


def test_its_words_are_told_until_a_node_has_taken_up_the_next_one() -> None:
    case = Case()
    case.look(pod("a", REFUSED))
    uid = case.anew()
    waiting = case.look(pod("b", PENDING, of=uid))
    assert waiting.cause is not None
    assert WORDS in waiting.cause.message
    assert not waiting.down
    assert case.look(pod("b", CREATING, of=uid)).cause is None


def test_what_was_refused_before_another_one_came_up_takes_nothing_down() -> None:
    case = Case()
    running = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    verdict = case.look(pod("a", REFUSED), pod("b", running), answers=True)
    assert (verdict.down, verdict.silent, case.failures) == (False, False, 0)
    assert case.look(pod("a", REFUSED), pod("b", CREATING)).down is False
    assert [item.uid for item in verdict.forced] == ["a"], "it is of no more use"


def test_a_pod_that_is_over_ties_no_copy_to_its_node() -> None:
    faults = NodeFaults(lost={"gpu-2": "node gpu-2 has not answered for 90 s"})
    over = pod("a", {"phase": "Failed", "reason": "Evicted"}, node="gpu-2")
    pods = (over, pod("b", {"phase": "Running"}))
    patient = Patient(name="chat-r-0", revision="r", size=1, workload=Case().workload(), pods=pods, answers=True)
    verdict = healing.judge(patient, former=None, now=START, faults=faults, rules=RULES)
    assert (verdict.down, verdict.cause) == (False, None)


def test_one_that_was_counted_and_taken_up_after_all_fails_again_when_it_is_refused_again() -> None:
    case = Case()
    case.look(pod("a", REFUSED))
    case.look(pod("a", REFUSED), pod("b", CREATING))
    verdict = case.look(pod("a", REFUSED), pod("b", REFUSED))
    assert (case.failures, verdict.down) == (2, True)


def test_nodes_that_refused_it_are_its_last_choice_from_then_on() -> None:
    case = Case()
    for node in ("gpu-1", "gpu-2", "gpu-1"):
        case.look(pod("a", REFUSED, node=node, of=case.made[-1]))
        case.now += 600.0
        case.anew()
    assert avoided(NO_FAULTS, [case.record, None]) == ("~gpu-1", "~gpu-2")
    faults = NodeFaults(broken={"gpu-2": "it is broken"}, short={"gpu-1": 3})
    assert avoided(faults, [case.record]) == ("gpu-2", "~gpu-1")


def test_a_copy_that_answers_for_long_enough_forgets_them() -> None:
    case = Case()
    case.look(pod("a", REFUSED))
    uid = case.anew()
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": format_time(START + 60)}
    running = {"phase": "Running", "conditions": [ready], **statuses(state={"running": {}}, ready=True)}
    case.now = START + 61
    case.look(pod("b", running, of=uid), answers=True)
    assert avoided(NO_FAULTS, [case.record]) == ("~gpu-1",)
    case.now = START + 60 + RULES.forget_seconds
    case.look(pod("b", running, of=uid), answers=True)
    assert case.record is None


@given(
    nodes=st.lists(st.from_regex(r"[a-z0-9]([-a-z0-9.]{0,20}[a-z0-9])?", fullmatch=True), max_size=8, unique=True),
    ends=st.integers(min_value=0, max_value=99),
)
def test_what_is_written_of_nodes_is_read_again(nodes: list[str], ends: int) -> None:
    known = counted.Counted(workload="w", ends=ends, refusing=tuple(nodes))
    assert counted.parse(known.text()) == known


def test_no_more_nodes_are_remembered_than_a_few() -> None:
    case = Case()
    for number in range(20):
        case.record = None if case.record is None else structs.replace(case.record, failures=1)
        case.look(pod("a", REFUSED, node=f"gpu-{number}", of=case.made[-1]))
        case.now += 600.0
        case.anew()
    assert len(avoided(NO_FAULTS, [case.record])) == counted.MAX_REFUSING
    assert "~gpu-19" in avoided(NO_FAULTS, [case.record])


def rank(uid: str, status: dict[str, Any], *, worker: int, born: float = START) -> Child:
    made = pod(uid, status, node=f"gpu-{worker}", of="a StatefulSet's", born=born)
    made.manifest["metadata"]["labels"] = {names.WORKER_INDEX: str(worker)}
    return made


def test_a_group_of_which_a_rank_is_refused_fails_once_and_goes_as_a_whole() -> None:
    case = Case(size=2)
    verdict = case.look(rank("l", CREATING, worker=0), rank("a", REFUSED, worker=1))
    assert (verdict.down, case.failures) == (True, 1), "its leader runs, and waits for it in vain"
    case.look(rank("l2", PENDING, worker=0, born=START + 9), rank("a2", PENDING, worker=1, born=START + 9))
    assert case.failures == 1, "that its controller makes it anew follows from that"
    assert avoided(NO_FAULTS, [case.record]) == ("~gpu-1",)
