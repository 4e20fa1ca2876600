"""Rules of healing where two of them meet, or where one of them ends."""

from dataclasses import replace

import msgspec
import pytest
from paddock_core.resources.llamadeployment import CopyStatus
from paddock_operator.decide import counted, healing
from paddock_operator.decide.node_faults import NO_FAULTS, NodeFaults
from paddock_operator.decide.patients import Patient
from paddock_operator.decide.verdicts import Verdict, looked_at
from paddock_operator.observed import Child
from paddock_operator.times import format_time

from tests.operator.test_healing import (
    CRASH,
    OOM,
    RULES,
    START,
    Case,
    answering_group,
    group,
    pod,
    spent,
    unplaced,
    workload,
)

LOST = NodeFaults(lost={"gpu-1": "node gpu-1 has not answered for 61 s"})


def placed(uid: str, *, worker: int, since: float) -> Child:
    said = {"type": "PodScheduled", "status": "True", "lastTransitionTime": format_time(since)}
    return pod(uid, worker=worker, conditions=[said])


def broken(*, ended: float) -> list[Child]:
    """A group of two of which the worker has ended, while its leader says that it is ready."""
    left = {**OOM, "finishedAt": format_time(ended)}
    return [pod("l", worker=0, ready_since=START), pod("a", worker=1, restarts=1, left=left)]


class TestPauses:
    def test_however_often_it_failed_or_gave_way_it_waits_no_longer_than_the_longest(self) -> None:
        assert healing.pause_seconds(10_000, rules=RULES) == RULES.longest_pause_seconds
        longest = healing._yield_seconds("chat-r-0", 10_000, rules=RULES)
        assert RULES.longest_pause_seconds <= longest < 2 * RULES.longest_pause_seconds

    @pytest.mark.parametrize("name", [f"chat-r-{index}" for index in range(9)])
    def test_one_that_gave_way_waits_at_least_for_its_pause_and_less_than_twice(self, name: str) -> None:
        for yielded, pause in ((1, 20.0), (2, 40.0), (5, 320.0)):
            assert pause <= healing._yield_seconds(name, yielded, rules=RULES) < 2 * pause

    def test_the_last_moment_of_a_pause_is_not_looked_at_over_and_over(self) -> None:
        case = Case()
        case.look(pod("a", restarts=1, left=CRASH))
        case.look(pod("a", restarts=2, left=CRASH))
        case.made = None
        assert case.after(9.5).look().look_after_seconds == 1.0

    def test_in_its_pause_a_broken_group_is_looked_at_when_that_is_over(self) -> None:
        case = answering_group()
        assert case.record is not None
        case.record = msgspec.structs.replace(case.record, failures=4)
        verdict = case.look(*broken(ended=START), answers=True)
        assert (verdict.held, verdict.look_after_seconds) == (True, 80.0)

    def test_one_that_is_given_up_gets_no_request_while_it_is_taken_down(self) -> None:
        assert spent().look(pod("p", restarts=1, left=CRASH, ready_since=START), answers=True).silent


class TestForgiving:
    def test_a_failure_that_no_probe_has_seen_is_not_forgiven_at_once(self) -> None:
        case = Case()
        back = pod("a", restarts=1, left=CRASH, ready_since=START)
        case.after(RULES.forget_seconds + 60).look(back, answers=True)
        case.after(RULES.forget_seconds - 1).look(back, answers=True)
        assert case.failures == 1
        case.after(1).look(back, answers=True)
        assert case.failures == 0

    def test_the_leader_of_a_broken_group_that_stays_ready_earns_it_nothing(self) -> None:
        case = answering_group()
        case.look(*broken(ended=START), answers=True)
        case.after(RULES.forget_seconds * 2).look(*broken(ended=START), answers=True)
        assert case.failures == 1

    @pytest.mark.parametrize("there", ["its workload", "a pod of it"])
    def test_of_what_is_there_nothing_is_forgotten_however_long_it_takes(self, there: str) -> None:
        case = Case()
        case.look(pod("a", restarts=1, left=CRASH))
        pods = [pod("a", restarts=1, left=CRASH, going=True)] if there == "a pod of it" else []
        case.made = None if pods else case.made
        case.after(RULES.longest_pause_seconds * 3).look(*pods)
        assert case.failures == 1

    def test_where_it_was_is_looked_at_again_when_that_is_forgotten(self) -> None:
        case = Case(faults=LOST)
        case.look(pod("a"))
        case.made, case.faults = None, NO_FAULTS
        assert case.after(100).look().look_after_seconds == RULES.moving_seconds - 100


class TestBrokenGroups:
    def test_its_controller_has_its_time_from_the_end_of_the_worker_on(self) -> None:
        case = answering_group().after(300)
        pods = broken(ended=START + 300)
        first = case.look(*pods, answers=True)
        assert (first.silent, first.down, first.look_after_seconds) == (True, False, RULES.recreate_seconds)
        last = case.after(RULES.recreate_seconds - 0.5).look(*pods, answers=True)
        assert (last.down, last.look_after_seconds) == (False, 1.0)
        assert case.after(0.5).look(*pods, answers=True).down

    def test_while_something_of_it_is_being_deleted_it_is_looked_at_later(self) -> None:
        case = answering_group().after(400)
        mixed = [pod("l", worker=0), pod("b", worker=1, born=START + 300), pod("a", worker=1, going=True)]
        assert case.look(*mixed).look_after_seconds == RULES.recreate_seconds

    def test_why_it_left_its_node_is_told_before_what_that_left_of_it(self) -> None:
        case = answering_group()
        case.faults = LOST
        case.look(*group())
        case.faults = NO_FAULTS
        verdict = case.look(*group())
        assert verdict.silent
        assert verdict.cause is not None
        assert verdict.cause.reason == "NodeLost"

    def test_one_that_has_to_go_anyway_does_not_give_way(self) -> None:
        case = answering_group().after(300)
        mixed = [pod("l", worker=0), unplaced("b", worker=1, since=START)]
        verdict = case.look(*mixed)
        assert (verdict.down, verdict.held) == (True, False)
        assert verdict.cause is not None
        assert verdict.cause.reason == "RanksLost"


class TestPartialPlacement:
    @pytest.mark.parametrize(("held", "waits"), [(0, 40), (40, 0), (10, 40)])
    def test_its_time_runs_from_when_one_holds_devices_and_another_waits(self, held: int, waits: int) -> None:
        case = Case(size=4)
        pods = [
            placed("l", worker=0, since=START + held),
            placed("a", worker=1, since=START + 60),
            unplaced("b", worker=2, since=START + waits),
            unplaced("c", worker=3, since=START + 60),
        ]
        assert case.after(61).look(*pods).look_after_seconds == 40 + RULES.partial_seconds - 61

    def test_what_it_failed_of_and_how_often_it_gave_way_is_kept(self) -> None:
        case = Case(size=2)
        pods = [pod("l", worker=0), unplaced("a", worker=1, since=START)]
        case.record = CopyStatus(
            name="chat-r-0",
            revision="chat-r",
            failures=1,
            failed_at=format_time(START),
            retry_at=format_time(START),
            yielded=1,
            seen=counted.Counted(workload="w").text(),
        )
        verdict = case.after(RULES.partial_seconds)._look(tuple(pods), False)
        assert verdict.silent
        assert verdict.look_after_seconds == healing._yield_seconds("chat-r-0", 2, rules=RULES)
        assert verdict.record is not None
        assert (verdict.record.failures, verdict.record.yielded) == (1, 2)
        assert verdict.record.failed_at == format_time(case.now)

    def test_one_in_its_pause_does_not_give_way_too(self) -> None:
        case = Case(size=2)
        pods = [pod("l", worker=0, restarts=2, left=CRASH), unplaced("a", worker=1, since=START)]
        case.record = CopyStatus(
            name="chat-r-0",
            revision="chat-r",
            failures=3,
            failed_at=format_time(START),
            seen=counted.Counted(workload="w").text(),
        )
        verdict = case.after(RULES.partial_seconds).look(*pods)
        assert verdict.held
        assert verdict.record is not None
        assert (verdict.record.failures, verdict.record.yielded) == (4, 0)

    def test_an_evicted_pod_holds_nothing_from_the_one_in_its_place(self) -> None:
        evicted = pod("a", phase="Failed", reason="Evicted")
        verdict = Case().after(7200).look(evicted, unplaced("b", worker=0, since=START))
        assert (verdict.held, verdict.down) == (False, False)

    def test_once_it_is_placed_wholly_nothing_is_said_of_its_place(self) -> None:
        case = Case(size=2)
        case.after(RULES.partial_seconds)._look((pod("l", worker=0), unplaced("a", worker=1, since=START)), False)
        case.record = case._look((pod("l", worker=0), unplaced("a", worker=1, since=START)), False).record
        case.made = workload("w2", born=case.after(2000).now)
        case.look(*(pod(uid, worker=place, born=case.now) for place, uid in enumerate("ab")))
        assert case.record is not None
        assert (case.record.yielded, case.record.evidence) == (0, None)


class TestLeaving:
    def test_a_pod_of_a_former_workload_is_forced_only_where_somebody_has_deleted_it(self) -> None:
        former = [pod(uid, born=START - 600, going=uid == "a") for uid in "ab"]
        patient = Patient(name="chat-r-0", revision="chat-r", size=1, workload=workload(), pods=former)
        assert [item.uid for item in healing.judge_leaving(patient, faults=LOST).forced] == ["a"]
        assert healing.judge_leaving(replace(patient, workload=None), faults=LOST).forced == tuple(former)


class TestCounting:
    def test_what_was_seen_once_is_not_counted_again_after_it_was_out_of_sight(self) -> None:
        case = Case(size=2)
        ended = [pod("l", worker=0), pod("a", worker=1, restarts=1, left=CRASH)]
        case.look(*ended)
        case.look(ended[0])
        case.look(*ended)
        assert case.failures == 1

    def test_a_word_that_was_there_before_it_failed_is_no_new_try(self) -> None:
        case = Case(retry="1700000000")
        case.look(pod("a", restarts=1, left=CRASH))
        assert case.failures == 1

    def test_a_group_that_answers_after_a_failed_start_is_sound(self) -> None:
        case = Case(size=2)
        case.look(*group(restarts=1, left=CRASH))
        verdict = case.look(*group(restarts=1, left=CRASH, ready_since=START), answers=True)
        assert (verdict.silent, verdict.cause) == (False, None)

    def test_a_group_that_comes_while_its_workload_goes_is_not_called_broken(self) -> None:
        case = answering_group()
        case.made = workload(going=True)
        verdict = case.look(*group("l2", "a2", born=START + 60), answers=True)
        assert (verdict.silent, verdict.cause) == (False, None)

    def test_the_end_of_a_pod_alone_that_is_being_deleted_is_no_failure(self) -> None:
        case = Case()
        case.look(pod("a", restarts=1, left=CRASH, going=True))
        assert case.failures == 0


class TestWhatIsTold:
    def test_a_look_that_is_due_sooner_stays_and_none_comes_at_once(self) -> None:
        plain = Verdict(record=None)
        assert looked_at(plain, 0.2).look_after_seconds == 1.0
        assert looked_at(looked_at(plain, 5.0), 9.0).look_after_seconds == 5.0
        assert looked_at(looked_at(plain, 9.0), 5.0).look_after_seconds == 5.0

    def test_what_no_container_left_names_none(self) -> None:
        case = Case(size=2)
        pods = (pod("l", worker=0), unplaced("a", worker=1, since=START))
        cause = case.after(RULES.partial_seconds)._look(pods, False).cause
        assert cause is not None
        assert "container" not in cause.message

    def test_in_the_pause_after_failures_a_lost_node_and_a_place_that_it_gave_up_are_not_its_reason(self) -> None:
        case = Case(size=2)
        pods = (pod("l", worker=0), unplaced("a", worker=1, since=START))
        case.record = case.after(RULES.partial_seconds)._look(pods, False).record
        assert case.record is not None
        case.record = msgspec.structs.replace(case.record, failures=1)
        case.made = workload("w2", born=case.after(2000).now)
        ends = [pod(uid, worker=place, born=case.now, restarts=1, left=CRASH) for place, uid in enumerate("la")]
        failed = case.look(ends[0], unplaced("a", worker=1, since=case.now))
        assert failed.cause is not None
        assert failed.cause.reason == "RestartDelayed"
        lost = Case()
        lost.look(pod("a", restarts=1, left=CRASH))
        lost.look(pod("a", restarts=2, left=CRASH))
        lost.faults = LOST
        lost.look(pod("a", restarts=2, left=CRASH))
        lost.made, lost.faults = None, NO_FAULTS
        waits = lost.look()
        assert waits.held
        assert waits.cause is not None
        assert waits.cause.reason == "RestartDelayed"


class TestBadNodes:
    def test_of_two_bad_nodes_the_same_one_is_told_each_time(self) -> None:
        ranks = [pod(f"p{rank}", worker=rank, node=f"gpu-{rank}") for rank in range(8)]
        case = Case(size=8, faults=NodeFaults(lost={f"gpu-{rank}": f"gpu-{rank} is silent" for rank in range(8)}))
        cause = case.look(*ranks).cause
        assert cause is not None
        assert "gpu-0 is silent" in cause.message
        doubts = frozenset(f"gpu-{rank}" for rank in range(8))
        for doubted in (
            NodeFaults(doubted=doubts | {"gpu"}, distrusted="doubt"),
            NodeFaults(doubted_gpus=doubts | {"gpu"}, distrusted="doubt"),
        ):
            told = Case(size=8, faults=doubted).look(*ranks).cause
            assert told is not None
            assert "node gpu-0 " in told.message, "the first one of its own"

    def test_a_doubt_about_a_node_of_others_is_not_told(self) -> None:
        elsewhere = frozenset({"gpu-9"})
        assert Case(faults=NodeFaults(doubted=elsewhere, distrusted="doubt")).look(pod("a")).cause is None
        assert Case(faults=NodeFaults(doubted_gpus=elsewhere, distrusted="doubt")).look(pod("a")).cause is None

    def test_of_two_silent_nodes_the_one_that_is_lost_first_is_looked_at_first(self) -> None:
        case = Case(size=2, faults=NodeFaults(waiting={"gpu-1": 40.0, "gpu-2": 3.0}))
        assert case.look(pod("l", worker=0), pod("a", worker=1, node="gpu-2")).look_after_seconds == 3.0

    @pytest.mark.parametrize(("asks", "offers", "answers", "leaves"), [(8, 1, True, True), (1, 1, False, True)])
    def test_one_gpu_that_is_left_is_one(self, asks: int, offers: int, answers: bool, leaves: bool) -> None:
        ends = [pod("l", worker=0, restarts=1, left=CRASH), pod("a", worker=1, node="gpu-2")]
        for item in ends:
            item.manifest["spec"]["containers"] = [{"resources": {"limits": {"nvidia.com/gpu": str(asks)}}}]
        verdict = Case(size=2, faults=NodeFaults(short={"gpu-1": offers})).look(*ends, answers=answers)
        assert (verdict.down or verdict.moves) is leaves

    def test_one_that_a_broken_gpu_took_is_told_so_until_it_answers_elsewhere(self) -> None:
        case = Case(faults=NodeFaults(broken={"gpu-1": "node gpu-1 says XidCriticalError=True"}))
        assert case.look(pod("a")).down
        case.made = None
        cause = case.look().cause
        assert cause is not None
        assert cause.reason == "GpuLost"

    def test_a_group_of_which_the_scheduler_has_looked_at_one_pod_is_let_back(self) -> None:
        fresh = Patient(
            name="chat-r-0",
            revision="chat-r",
            size=2,
            workload=workload(),
            pods=[unplaced("l", worker=0, since=START), pod("a", worker=1, node=None)],
            avoids=("gpu-1",),
        )
        assert healing.judge(fresh, former=None, now=START, rules=RULES).down
