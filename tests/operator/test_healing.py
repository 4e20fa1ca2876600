"""Restart budget, pauses, evidence, broken groups and partial placement: each rule, on pods as they are read."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paddock_core.resources import names
from paddock_core.resources.llamadeployment import CopyStatus
from paddock_operator.decide import counted, healing
from paddock_operator.decide.healing import HealingRules
from paddock_operator.decide.node_faults import NO_FAULTS, NodeFaults
from paddock_operator.decide.patients import Patient, quiet_since
from paddock_operator.decide.verdicts import Verdict
from paddock_operator.kinds import LEADER_WORKER_SET, POD
from paddock_operator.observed import Child
from paddock_operator.times import format_time, parse_time

START = 1_800_000_000.0
RULES = HealingRules()
GPU = "nvidia.com/gpu"
OOM = {"exitCode": 137, "reason": "OOMKilled", "message": "", "finishedAt": "2027-01-15T08:00:05Z"}
CRASH = {"exitCode": 1, "reason": "Error", "message": "no such file: /weights/x", "finishedAt": "2027-01-15T08:00:09Z"}
RUNNING = {"running": {"startedAt": "2027-01-15T08:00:00Z"}}


def pod(
    uid: str,
    *,
    worker: int | None = None,
    born: float = START,
    restarts: int = 0,
    left: dict[str, Any] | None = None,
    state: dict[str, Any] | None = None,
    node: str | None = "gpu-1",
    ready_since: float | None = None,
    going: bool = False,
    conditions: Iterable[dict[str, Any]] = (),
    **status: Any,
) -> Child:
    metadata: dict[str, Any] = {
        "name": f"chat-{uid}",
        "namespace": "s",
        "uid": uid,
        "creationTimestamp": format_time(born),
        "labels": {} if worker is None else {names.WORKER_INDEX: str(worker)},
    }
    if going:
        metadata["deletionTimestamp"] = format_time(born + 90)
    said = list(conditions)
    if ready_since is not None:
        said.append({"type": "Ready", "status": "True", "lastTransitionTime": format_time(ready_since)})
    container = {"name": "triton", "restartCount": restarts, "state": state or RUNNING}
    if left is not None:
        container["lastState"] = {"terminated": left}
    spec = {"containers": [{"resources": {"limits": {GPU: "8", "memory": "1Gi"}}}]}
    manifest = {
        "metadata": metadata,
        "spec": spec if node is None else {**spec, "nodeName": node},
        "status": {"containerStatuses": [container], "conditions": said, **status},
    }
    return Child(kind=POD, manifest=manifest)


def workload(uid: str = "w", *, born: float = START, going: bool = False) -> Child:
    metadata = {"name": "chat-r-0", "namespace": "s", "uid": uid, "creationTimestamp": format_time(born)}
    if going:
        metadata["deletionTimestamp"] = format_time(born)
    return Child(kind=LEADER_WORKER_SET, manifest={"metadata": metadata})


@dataclass
class Case:
    """A copy over some rounds, of which the status alone is remembered."""

    size: int = 1
    now: float = START
    retry: str = ""
    rules: HealingRules = RULES
    faults: NodeFaults = NO_FAULTS
    record: CopyStatus | None = None
    gang: bool = False
    made: Child | None = field(default_factory=workload)

    def look(self, *pods: Child, answers: bool = False) -> Verdict:
        """One round, twice: the second look at the same things must change nothing."""
        verdict = self._look(pods, answers)
        self.record = verdict.record
        again = self._look(pods, answers)
        assert again.record == verdict.record
        assert (again.held, again.silent, again.moves) == (verdict.held, verdict.silent, verdict.moves)
        return again

    def _look(self, pods: tuple[Child, ...], answers: bool) -> Verdict:
        patient = Patient(
            name="chat-r-0",
            revision="chat-r",
            size=self.size,
            workload=self.made,
            pods=pods,
            answers=answers,
            gang=self.gang,
        )
        return healing.judge(
            patient,
            former=self.record,
            now=self.now,
            retry=self.retry,
            gpu=GPU,
            faults=self.faults,
            rules=self.rules,
        )

    @property
    def failures(self) -> int:
        return 0 if self.record is None else self.record.failures

    def after(self, seconds: float) -> "Case":
        self.now += seconds
        return self


def group(leader: str = "l", *workers: str, **leaders: Any) -> list[Child]:
    found = workers or ("a",)
    return [pod(leader, worker=0, **leaders), *(pod(uid, worker=place + 1) for place, uid in enumerate(found))]


def answering_group() -> Case:
    """A group of two that has answered."""
    case = Case(size=2)
    case.look(*group(ready_since=START), answers=True)
    assert case.failures == 0
    return case


def test_a_copy_that_never_failed_leaves_no_trace() -> None:
    case = Case()
    assert case.look(pod("a")) == Verdict(record=None)
    assert not case.look(pod("a")).failed_for_good
    assert case.after(3600).look(pod("a", ready_since=START), answers=True) == Verdict(record=None)


def test_the_first_failure_is_counted_once_and_costs_no_pause() -> None:
    case = Case()
    verdict = case.look(pod("a", restarts=1, left=CRASH))
    assert case.failures == 1
    assert (verdict.held, verdict.down) == (False, False)
    assert case.after(1).look(pod("a", restarts=1, left=CRASH)).record == verdict.record


def test_an_end_that_is_waited_upon_counts_and_its_restart_does_not_again() -> None:
    waiting = {"waiting": {"reason": "CrashLoopBackOff"}}
    case = Case()
    case.look(pod("a", restarts=1, left=CRASH, state=waiting))
    assert case.failures == 1
    case.after(1).look(pod("a", restarts=2, left=CRASH))
    assert case.failures == 1


def test_pauses_double_up_to_the_longest_and_end_with_the_budget() -> None:
    rules = replace(RULES, budget=12)
    case, waits = Case(rules=rules), []
    for failure in range(1, 12):
        case.made = workload(f"w{failure}", born=case.now)
        case.look(pod(f"p{failure}", born=case.now, restarts=1, left=CRASH))
        assert case.record is not None
        waits.append(parse_time(case.record.retry_at) - case.now)
        case.after(waits[-1])
    assert waits == [0, 10, 20, 40, 80, 160, 320, 600, 600, 600, 600]
    case.made = workload("last", born=case.now)
    verdict = case.look(pod("last", born=case.now, restarts=1, left=CRASH))
    assert verdict.failed_for_good
    assert verdict.down
    assert case.record is not None
    assert case.record.retry_at == ""


def test_a_copy_in_its_pause_is_taken_down_and_held_until_its_time() -> None:
    case = Case()
    case.look(pod("a", restarts=1, left=CRASH))
    verdict = case.after(5).look(pod("a", restarts=2, left=CRASH))
    assert (verdict.held, verdict.down, verdict.silent) == (True, True, True)
    assert verdict.cause is not None
    assert verdict.cause.reason == "RestartDelayed"
    assert "has failed 2 times in a row" in verdict.cause.message
    assert verdict.look_after_seconds == 10.0
    case.made = None
    held = case.after(9).look()
    assert (held.held, held.down) == (True, False)
    assert not case.after(1).look().held
    assert case.failures == 2


def test_a_spent_budget_is_final_and_keeps_the_evidence_after_the_pods() -> None:
    case = spent()
    case.made = None
    verdict = case.after(86400).look()
    assert (verdict.held, verdict.failed_for_good) == (True, True)
    assert verdict.cause is not None
    assert verdict.cause.reason == "GroupFailed"
    assert verdict.record is not None
    left = verdict.record.evidence
    assert left is not None
    assert (left.pod, left.container, left.node) == ("chat-p", "triton", "gpu-1")
    assert (left.reason, left.exit_code) == ("CrashLooping", 1)
    assert "no such file: /weights/x" in left.message
    assert "container triton of pod chat-p on gpu-1: CrashLooping: " in verdict.cause.message
    assert "no such file: /weights/x" in verdict.cause.message


def test_a_failure_that_leaves_no_words_keeps_the_evidence_of_the_one_before() -> None:
    case = Case()
    case.look(pod("a", restarts=1, left=CRASH))
    verdict = case.after(3600).look(pod("b", restarts=1, born=case.now))
    assert case.failures == 2
    assert verdict.record is not None
    left = verdict.record.evidence
    assert left is not None
    assert (left.pod, left.exit_code) == ("chat-a", 1)
    assert verdict.cause is not None
    assert "no such file: /weights/x" in verdict.cause.message


def spent() -> Case:
    case = Case(rules=replace(RULES, budget=1))
    case.look(pod("p", restarts=1, left=CRASH))
    return case


def test_a_persons_new_try_forgets_it() -> None:
    case = spent()
    case.made = None
    case.retry = "1700000000"
    verdict = case.look()
    assert not verdict.held
    assert case.failures == 0
    case.made = workload("new", born=case.after(60).now)
    assert not case.look(pod("q", born=case.now)).held


def test_a_new_try_with_its_pods_still_there_does_not_count_their_ends_again() -> None:
    case = Case()
    case.look(pod("a", restarts=1, left=CRASH))
    case.retry = "again"
    case.look(pod("a", restarts=1, left=CRASH))
    assert case.failures == 0
    case.look(pod("a", restarts=2, left=CRASH))
    assert case.failures == 1


def test_a_copy_that_has_answered_for_long_is_forgiven() -> None:
    case = Case()
    case.look(pod("a", restarts=1, left=CRASH))
    case.after(10)
    back = pod("a", restarts=1, left=CRASH, ready_since=case.now)
    case.after(RULES.forget_seconds - 1).look(back, answers=True)
    assert case.failures == 1
    case.after(1).look(back, answers=True)
    assert case.failures == 0
    assert case.record is not None
    assert case.record.evidence is None
    # Its earlier end is not found again.
    case.after(1).look(back)
    assert case.failures == 0


def test_a_pod_that_still_answers_while_it_is_deleted_is_not_forgiven() -> None:
    case = Case()
    case.look(pod("a", restarts=1, left=CRASH))
    case.after(3600).look(pod("a", restarts=1, left=CRASH, ready_since=START, going=True), answers=True)
    assert case.failures == 1


def test_an_engine_that_is_ready_without_answering_is_not_forgiven() -> None:
    case = Case()
    case.look(pod("a", restarts=1, left=CRASH))
    case.after(3600).look(pod("a", restarts=1, left=CRASH, ready_since=START))
    assert case.failures == 1


def test_a_slow_pull_is_no_failure() -> None:
    case = Case(size=2)
    pulling = {"waiting": {"reason": "ImagePullBackOff"}}
    verdict = case.after(7200).look(*group(state=pulling))
    assert case.failures == 0
    assert not verdict.held


@pytest.mark.parametrize(
    "taken",
    [
        {"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}]},
        {"phase": "Failed", "reason": "Evicted"},
    ],
    ids=["drained", "evicted"],
)
def test_what_others_end_is_no_failure_of_a_group(taken: dict[str, Any]) -> None:
    case = answering_group()
    case.look(pod("l", worker=0), pod("a", worker=1, restarts=1, left=OOM, **taken))
    assert case.failures == 0
    case.look(*group("l2", "a2", born=START + 60))
    assert case.failures == 0


def test_the_pod_that_stands_in_for_one_that_is_over_is_the_one_that_counts() -> None:
    case = Case()
    over = pod("a", phase="Failed", reason="Evicted")
    case.look(over, pod("b", born=START + 60, restarts=1, left=CRASH))
    assert case.failures == 1


def test_since_when_a_pod_could_answer_and_is_silent() -> None:
    unready = {"type": "Ready", "status": "False", "lastTransitionTime": format_time(START + 9)}
    assert quiet_since(pod("a", node=None, conditions=[unready])) == START + 9
    placed = {"type": "PodScheduled", "status": "True", "lastTransitionTime": format_time(START + 30)}
    assert quiet_since(pod("a", conditions=[unready, placed])) == START + 30
    assert quiet_since(pod("a", ready_since=START)) is None


def test_a_pod_alone_that_is_replaced_has_not_failed() -> None:
    case = Case()
    case.look(pod("a", restarts=1, left=CRASH))
    case.look(pod("b", born=START + 60), pod("a", restarts=1, left=CRASH, going=True))
    assert case.failures == 1


def test_a_group_made_anew_by_its_controller_has_failed_once() -> None:
    case = answering_group()
    case.after(60).look(*group("l2", "a2", born=START + 60))
    assert case.failures == 1
    case.after(60).look(*group("l2", "a2", born=START + 60))
    assert case.failures == 1


def test_a_group_that_is_made_anew_over_and_over_has_failed_each_time() -> None:
    case = answering_group()
    for number in (1, 2, 3):
        case.after(60).look(*group(f"l{number}", f"a{number}", born=case.now))
        assert case.failures == number


def test_a_group_made_anew_computes_with_its_own_workers() -> None:
    case = answering_group()
    new = group("l2", "a2", born=START + 60, ready_since=START + 60)
    assert not case.after(60).look(*new, answers=True).silent
    assert case.look(new[0], pod("b", worker=1, born=START + 61), answers=True).silent


def test_an_end_in_a_group_made_anew_is_one_failure_until_the_next_group_is_there() -> None:
    case = answering_group()
    case.after(60).look(*group("l2", "a2", born=START + 60, restarts=1, left=CRASH))
    assert case.failures == 1
    case.after(5).look(*group("l2", "a2", born=START + 60, restarts=1, left=CRASH))
    assert case.failures == 1
    case.after(60).look(*group("l3", "a3", born=START + 120))
    assert case.failures == 1, "that is why it was made anew"
    case.after(60).look(*group("l4", "a4", born=START + 180))
    assert case.failures == 2


def test_a_ranks_end_and_the_new_group_after_it_are_one_failure() -> None:
    case = answering_group()
    case.look(pod("l", worker=0), pod("a", worker=1, restarts=1, left=OOM))
    assert case.failures == 1
    old = [pod("l", worker=0, going=True, restarts=3), pod("a", worker=1, going=True, restarts=1, left=OOM)]
    case.after(5).look(*old)
    new = [pod("l2", worker=0, born=START + 60), pod("a2", worker=1, born=START + 60)]
    case.after(60).look(*new, *old)
    assert case.failures == 1
    case.after(60).look(*new)
    assert case.failures == 1


def test_a_rank_that_ends_while_its_leader_is_not_there_is_one_failure() -> None:
    case = answering_group()
    case.look(pod("a", worker=1, restarts=1, left=OOM))
    assert case.failures == 1
    case.after(60).look(*group("l2", "a2", born=START + 60))
    assert case.failures == 1


def test_a_group_that_we_made_anew_has_not_failed() -> None:
    case = answering_group()
    case.made = workload("w2", born=START + 60)
    case.look(*group("l2", "a2", born=START + 61))
    assert case.failures == 0


def test_a_group_that_fails_before_it_ever_answered_is_counted_each_time() -> None:
    case = Case(size=2, rules=replace(RULES, budget=9))
    for restarts in (1, 2, 3):
        case.look(pod("l", worker=0, restarts=restarts, left=CRASH), pod("a", worker=1))
    assert case.failures == 3


def test_the_evidence_is_of_the_rank_that_ended_first_not_of_the_leader_that_waited() -> None:
    case = answering_group()
    waited = {"exitCode": 1, "message": "GroupFailed: chat-0-1 is gone", "finishedAt": "2027-01-15T08:00:01Z"}
    case.look(pod("l", worker=0, restarts=1, left=waited), pod("a", worker=1, restarts=1, left=OOM, node="gpu-2"))
    assert case.record is not None
    left = case.record.evidence
    assert left is not None
    assert (left.pod, left.node, left.reason, left.exit_code) == ("chat-a", "gpu-2", "EngineOOM", 137)


def test_a_replaced_worker_silences_the_group_and_takes_it_down_as_one() -> None:
    case = answering_group()
    mixed = [pod("l", worker=0, ready_since=START), pod("b", worker=1, born=START + 300)]
    case.after(301)
    verdict = case.look(*mixed, answers=True)
    assert (verdict.silent, verdict.down) == (True, False)
    assert verdict.cause is not None
    assert verdict.cause.reason == "RanksLost"
    verdict = case.after(30).look(*mixed, answers=True)
    assert (verdict.silent, verdict.down) == (True, True)


def test_a_missed_re_creation_after_a_workers_end_is_made_up_for() -> None:
    case = answering_group()
    broken = [pod("l", worker=0, ready_since=START), pod("a", worker=1, restarts=1, left=OOM)]
    verdict = case.look(*broken, answers=True)
    assert (verdict.silent, verdict.down) == (True, False)
    verdict = case.after(31).look(*broken, answers=True)
    assert (verdict.silent, verdict.down) == (True, True)


def test_a_controller_that_is_at_work_is_let_alone() -> None:
    case = answering_group()
    case.after(400)
    verdict = case.look(pod("l", worker=0), pod("b", worker=1, born=START + 300), pod("a", worker=1, going=True))
    assert (verdict.silent, verdict.down) == (True, False)


def unplaced(uid: str, *, worker: int, since: float) -> Child:
    said = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/2 nodes are available: 2 Insufficient nvidia.com/gpu.",
        "lastTransitionTime": format_time(since),
    }
    return pod(uid, worker=worker, node=None, conditions=[said], state={"waiting": {}})


def test_a_group_of_which_a_part_is_placed_gives_its_devices_back() -> None:
    case = Case(size=2)
    pods = [pod("l", worker=0), unplaced("a", worker=1, since=START)]
    verdict = case.after(89).look(*pods)
    assert not verdict.down
    assert verdict.look_after_seconds == 1.0
    case.after(1)
    first = case._look(tuple(pods), False)
    assert (first.held, first.down) == (True, True)
    assert first.cause is not None
    assert first.cause.reason == "InsufficientGPU"
    assert "only 1 of 2 pods found a node" in first.cause.message
    case.record, case.made = first.record, None
    held = case.after(1).look()
    assert held.held
    assert held.cause is not None
    assert held.cause.reason == "InsufficientGPU"
    assert case.failures == 0
    assert not case.after(RULES.longest_pause_seconds * 2).look().held


def test_one_that_gave_way_comes_later_each_time_and_apart_from_the_others() -> None:
    waits = [healing._yield_seconds("chat-r-0", count, rules=RULES) for count in (1, 2, 3)]
    assert waits == sorted(set(waits))
    both = {healing._yield_seconds(name, 1, rules=RULES) for name in ("chat-r-0", "chat-r-1", "talk-r-0")}
    assert len(both) == 3


def test_once_it_is_placed_wholly_it_begins_again_from_the_shortest_wait() -> None:
    case = Case(size=2)
    case.record = CopyStatus(
        name="chat-r-0", revision="chat-r", failures=0, failed_at="", yielded=3, seen=counted.Counted().text()
    )
    case.look(*group())
    assert case.record is not None
    assert case.record.yielded == 0


@pytest.mark.parametrize("spared", ["alone", "gang", "waiting"])
def test_what_holds_no_part_of_its_devices_is_let_alone(spared: str) -> None:
    case = Case(size=1 if spared == "alone" else 2, gang=spared == "gang")
    pods = [unplaced("l", worker=0, since=START), unplaced("a", worker=1, since=START)]
    if spared == "gang":
        pods[0] = pod("l", worker=0)
    verdict = case.after(7200).look(*pods[: case.size])
    assert (verdict.held, verdict.down) == (False, False)


def test_a_record_of_another_version_counts_nothing_twice() -> None:
    case = Case()
    case.record = CopyStatus(name="chat-r-0", revision="chat-r", failures=3, failed_at="", seen="x/7")
    case.look(pod("a", restarts=5, left=CRASH))
    assert case.failures == 0


def test_what_ends_while_its_workload_is_being_deleted_is_no_failure() -> None:
    case = Case()
    case.made = workload(going=True)
    case.look(pod("a", restarts=1, left=CRASH))
    assert case.failures == 0


def test_a_pod_alone_that_answered_and_is_replaced_has_not_failed() -> None:
    case = Case()
    case.look(pod("a", restarts=1, left=CRASH))
    case.look(pod("a", restarts=1, left=CRASH, ready_since=START), answers=True)
    case.look(pod("b", born=START + 60))
    assert case.failures == 1


def test_a_broken_group_is_not_taken_for_a_sound_one_because_its_leader_answers() -> None:
    case = answering_group()
    mixed = [pod("l", worker=0, ready_since=START), pod("b", worker=1, born=START + 700)]
    case.after(701).look(*mixed, answers=True)
    verdict = case.after(31).look(*mixed, answers=True)
    assert verdict.down


def test_a_copy_that_nobody_makes_anew_is_forgotten() -> None:
    case = Case()
    case.look(pod("a", restarts=1, left=CRASH))
    case.made = None
    case.after(RULES.longest_pause_seconds - 1).look()
    assert case.failures == 1
    assert case.after(1).look() == Verdict(record=None)
    sound = answering_group()
    sound.made = None
    assert sound.look() == Verdict(record=None)


DRAINED: dict[str, Any] = {
    "conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}]
}


def test_what_ends_after_somebody_else_ended_a_worker_is_no_failure() -> None:
    case = answering_group()
    case.look(pod("l", worker=0), pod("a", worker=1, **DRAINED))
    case.look(pod("l", worker=0, restarts=1, left=CRASH))
    assert case.failures == 0


def test_a_group_that_is_drained_as_it_first_answers_has_not_failed() -> None:
    case = Case(size=2)
    case.look(pod("l", worker=0, ready_since=START), pod("a", worker=1, **DRAINED), answers=True)
    case.after(60).look(*group("l2", "a2", born=START + 60))
    assert case.failures == 0


def test_workers_that_are_heard_of_after_their_leader_answers_are_not_new_ones() -> None:
    case = Case(size=2)
    case.look(pod("l", worker=0, ready_since=START), answers=True)
    assert not case.look(*group(ready_since=START), answers=True).silent


def test_a_record_of_six_other_words_counts_nothing_twice() -> None:
    case = Case()
    case.record = CopyStatus(name="chat-r-0", revision="chat-r", failures=3, failed_at="", seen="w a many - failed -")
    case.look(pod("a", restarts=5, left=CRASH))
    assert case.failures == 0


def test_where_a_copy_was_that_a_lost_node_took_is_told_for_a_while() -> None:
    case = Case(faults=NodeFaults(lost={"gpu-1": "node gpu-1 has not answered for 61 s"}))
    assert case.look(pod("a")).down
    case.made, case.faults = None, NO_FAULTS
    told = case.after(RULES.moving_seconds - 1).look()
    assert not told.held
    assert told.cause is not None
    assert told.cause.reason == "NodeLost"
    assert "has failed" not in told.cause.message
    assert case.after(1).look() == Verdict(record=None)


words = st.text(alphabet="abc-0", max_size=6).filter(lambda word: word != "-")


@given(words, words, st.integers(0, 10**6), words, st.sampled_from(["", "failed", "taken"]), words)
def test_what_was_counted_is_read_as_it_was_written(
    workload_uid: str, leader: str, ends: int, workers: str, state: str, retry: str
) -> None:
    made = counted.Counted(workload=workload_uid, leader=leader, ends=ends, workers=workers, state=state, retry=retry)
    assert counted.parse(made.text()) == made


@given(st.lists(st.tuples(st.integers(0, 2), st.floats(0, 900)), max_size=25))
def test_no_history_starts_a_copy_more_often_than_its_budget(history: list[tuple[int, float]]) -> None:
    """Whatever happens and whenever: without an answer there are never more failures than the budget."""
    case, restarts = Case(), 0
    for step, (more, seconds) in enumerate(history):
        case.after(seconds)
        if case.made is None:
            case.made, restarts = workload(f"w{step}", born=case.now), 0
        restarts += more
        verdict = case.look(pod(f"p-{case.made.uid}", born=case.now, restarts=restarts, left=CRASH))
        assert case.failures <= RULES.budget
        if verdict.held:
            assert case.failures > 1
        if verdict.down:
            case.made = None
            if verdict.failed_for_good:
                assert case.after(10**6).look().failed_for_good
                return
