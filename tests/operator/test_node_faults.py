"""Nodes that are lost or have lost a GPU: what is believed, what not, and what becomes of the copies there."""

import copy
from dataclasses import replace
from typing import Any

import pytest
from paddock_core.resources.llamadeployment import CopyStatus
from paddock_operator.decide import healing
from paddock_operator.decide.healing import HealingRules
from paddock_operator.decide.node_faults import (
    LAST_CHOICE,
    MAX_MESSAGE,
    FaultRules,
    NodeFaults,
    faults_of,
    is_bare,
    silence_of,
)
from paddock_operator.decide.patients import Patient
from paddock_operator.decide.progress import MOVING
from paddock_operator.decide.verdicts import Verdict
from paddock_operator.observed import Child
from paddock_operator.times import format_time, parse_time

from tests.operator.test_healing import CRASH, GPU, START, group, pod, unplaced, workload

RULES = FaultRules()


def node(name: str, *, silent_for: float | None = None, **status: Any) -> dict[str, Any]:
    ready = {"type": "Ready", "status": "True" if silent_for is None else "Unknown"}
    if silent_for is not None:
        ready["lastTransitionTime"] = format_time(START - silent_for)
    amounts = {"capacity": {GPU: "8"}, "allocatable": {GPU: "8"}}
    conditions = [ready, *status.pop("conditions", [])]
    return {
        "metadata": {"name": name},
        "spec": status.pop("spec", {}),
        "status": {**amounts, **status, "conditions": conditions},
    }


def faults(*nodes: dict[str, Any], fresh: bool = True, rules: FaultRules = RULES) -> NodeFaults:
    silences = {item["metadata"]["name"]: silence_of(item) for item in nodes}
    silent = {name: parse_time(since) for name, since in silences.items() if since is not None}
    return faults_of(nodes, now=START, fresh=fresh, rules=rules, silent=silent)


SOUND = (node("a"), node("b"), node("c"))


def test_sound_nodes_have_no_faults() -> None:
    assert faults(*SOUND) == NodeFaults()


def test_a_node_is_lost_after_its_time_and_not_before() -> None:
    found = faults(*SOUND, node("d", silent_for=59))
    assert not found.lost
    assert found.waiting == {"d": 1.0}
    assert set(faults(*SOUND, node("d", silent_for=60)).lost) == {"d"}


def test_where_most_nodes_look_lost_none_is_held_to_be() -> None:
    lost = [node(name, silent_for=600) for name in ("d", "e", "f", "g")]
    assert set(faults(*SOUND, *lost[:3]).lost) == {"d", "e", "f"}
    found = faults(*SOUND, *lost)
    assert not found.lost
    assert found.doubted == {"d", "e", "f", "g"}
    assert found.distrusted == "4 of 7 GPU nodes look lost at once, so none is held to be: nothing is moved"


def test_old_data_says_nothing_of_any_node() -> None:
    sick = node("e", conditions=[{"type": "XidCriticalError", "status": "True"}])
    found = faults(*SOUND, node("d", silent_for=600), sick, fresh=False)
    assert (dict(found.lost), dict(found.broken), found.avoided) == ({}, {}, ())
    assert found.distrusted


@pytest.mark.parametrize("condition", RULES.conditions)
def test_what_node_monitors_say_of_broken_gpus_is_believed(condition: str) -> None:
    kind, status = condition.split("=")
    other = {"True": "False", "False": "True"}[status]
    said = {"type": kind, "status": status, "reason": "Xid79", "message": "GPU has fallen off the bus"}
    found = faults(*SOUND, node("d", conditions=[said]))
    assert "Xid79 GPU has fallen off the bus" in found.broken["d"]
    assert found.avoided == ("d",)
    assert not faults(*SOUND, node("d", conditions=[said | {"status": other}])).broken


def test_taints_of_the_platforms_own_mean_the_same() -> None:
    tainted = node("d", spec={"taints": [{"key": "example.test/gpu-fault", "effect": "NoSchedule", "value": "x"}]})
    assert not faults(*SOUND, tainted).broken
    assert set(faults(*SOUND, tainted, rules=replace(RULES, taints=("example.test/gpu-fault",))).broken) == {"d"}


@pytest.mark.parametrize(("offers", "short"), [("8", None), ("7", 7), ("0", None)])
def test_a_node_that_offers_fewer_gpus_than_it_has_is_short(offers: str, short: int | None) -> None:
    """None at all may mean that the device plugin is being restarted."""
    assert faults(*SOUND, node("d", allocatable={GPU: offers})).short.get("d") == short


def test_a_node_that_offers_none_of_its_gpus_for_long_has_lost_them() -> None:
    gone = node("d", capacity={GPU: "1"}, allocatable={GPU: "0"})
    early = faults_of([*SOUND, gone], now=START, fresh=True, rules=RULES, bare={"d": START - RULES.bare_seconds + 9})
    assert (dict(early.short), dict(early.waiting)) == ({}, {"d": 9.0})
    late = faults_of([*SOUND, gone], now=START, fresh=True, rules=RULES, bare={"d": START - RULES.bare_seconds})
    assert (dict(late.short), dict(late.waiting)) == ({"d": 0}, {})


def test_parts_of_gpus_are_counted_with_them() -> None:
    part = "nvidia.com/mig-1g.10gb"
    cut = node("d", capacity={GPU: "0", part: "7", "cpu": "64"}, allocatable={GPU: "0", part: "6", "cpu": "60"})
    assert dict(faults(*SOUND, cut).short) == {"d": 6}


@pytest.mark.parametrize("kind", ["a condition", "fewer than it has"])
def test_where_most_nodes_say_that_gpus_are_gone_it_is_not_believed(kind: str) -> None:
    """A monitor that was rolled out badly, or a driver's upgrade, says so of all nodes at once."""
    says = {"conditions": [{"type": "XidCriticalError", "status": "True"}]}
    sick: dict[str, Any] = says if kind == "a condition" else {"allocatable": {GPU: "7"}}
    nodes = [node(name, **copy.deepcopy(sick)) for name in ("d", "e", "f", "g")]
    few = faults(*SOUND, *nodes[:3])
    assert {*few.broken, *few.short} == {"d", "e", "f"}
    most = faults(*SOUND, *nodes)
    assert (dict(most.broken), dict(most.short), most.avoided) == ({}, {}, ())
    assert most.doubted_gpus == {"d", "e", "f", "g"}
    assert "4 of 7 GPU nodes look short of a GPU at once" in most.distrusted


def test_a_loss_of_sight_of_many_nodes_does_not_hide_one_broken_gpu() -> None:
    sick = node("a", conditions=[{"type": "XidCriticalError", "status": "True"}])
    found = faults(sick, node("b"), *(node(name, silent_for=600) for name in ("d", "e", "f")))
    assert (set(found.broken), dict(found.lost)) == ({"a"}, {})


def test_new_copies_keep_off_broken_nodes_and_come_last_to_those_with_fewer_gpus() -> None:
    sick = node("d", conditions=[{"type": "XidCriticalError", "status": "True"}])
    found = faults(*SOUND, sick, node("e", allocatable={GPU: "7"}))
    assert found.avoided == ("d", f"{LAST_CHOICE}e")


def judged(
    *pods: Child,
    found: NodeFaults,
    size: int = 1,
    answers: bool = False,
    former: CopyStatus | None = None,
    made: Child | None = None,
    avoids: tuple[str, ...] = (),
) -> Verdict:
    patient = Patient(
        name="chat-r-0",
        revision="chat-r",
        size=size,
        workload=made or workload(),
        pods=pods,
        answers=answers,
        avoids=avoids,
    )
    return healing.judge(patient, former=former, now=START, gpu=GPU, faults=found, rules=HealingRules())


LOST = NodeFaults(lost={"gpu-2": "node gpu-2 has not answered for 61 s"})


def test_a_group_with_a_rank_on_a_lost_node_goes_as_a_whole_and_the_lost_pods_are_forced() -> None:
    pods = [pod("l", worker=0), pod("a", worker=1, node="gpu-2")]
    verdict = judged(*pods, found=LOST, size=2, answers=True)
    assert (verdict.down, verdict.silent, verdict.moves) == (True, True, False)
    assert [item.uid for item in verdict.forced] == ["a"]
    assert verdict.cause is not None
    assert verdict.cause.reason == "NodeLost"
    assert verdict.record is not None
    assert verdict.record.failures == 0


def test_a_copy_on_a_node_that_fell_silent_is_looked_at_when_that_counts_as_lost() -> None:
    silent = NodeFaults(waiting={"gpu-1": 40.0, "gpu-7": 3.0})
    assert judged(pod("a"), found=silent).look_after_seconds == 40.0
    assert judged(pod("a"), found=NodeFaults()).look_after_seconds is None


def test_a_copy_on_a_node_that_is_not_believed_to_be_lost_stays_and_says_so() -> None:
    found = NodeFaults(doubted=frozenset({"gpu-1"}), distrusted="4 of 7 GPU nodes look lost at once")
    verdict = judged(pod("a"), found=found)
    assert (verdict.down, verdict.moves, verdict.silent) == (False, False, False)
    assert verdict.cause is not None
    assert verdict.cause.reason == "NodesDoubted"
    assert "4 of 7 GPU nodes" in verdict.cause.message
    assert "delete their Node objects" in verdict.cause.advised
    assert verdict.cause.reason not in MOVING, "it is no matter of waiting"


def test_copies_elsewhere_stay_as_they_are() -> None:
    assert judged(*group(), found=LOST, size=2) == judged(*group(), found=NodeFaults(), size=2)


def test_the_loss_of_a_node_is_no_failure_of_the_copy() -> None:
    first = judged(pod("a", restarts=1, left=CRASH, node="gpu-2"), found=LOST)
    again = judged(pod("a", restarts=2, left=CRASH, node="gpu-2"), found=LOST, former=first.record)
    assert again.record == first.record
    assert again.record is not None
    assert again.record.failures == 0
    assert again.record.evidence is not None
    assert (again.record.evidence.reason, again.record.evidence.node) == ("NodeLost", "gpu-2")


def test_until_it_answers_elsewhere_it_is_told_why_it_is_not_there() -> None:
    first = judged(pod("a", node="gpu-2"), found=LOST)
    assert first.cause is not None
    assert first.cause.message.endswith("it is to be placed elsewhere")
    assert first.record is not None
    gone = Patient(name="chat-r-0", revision="chat-r", size=1, workload=None, pods=(), answers=False)
    waits = healing.judge(gone, former=first.record, now=START, gpu=GPU, faults=LOST, rules=HealingRules())
    assert waits.cause is not None
    assert "is to be placed elsewhere" in waits.cause.message, "it may be that none can be made"
    made = workload("w2", born=START)
    told = judged(pod("b", node=None), found=LOST, former=first.record, made=made)
    assert told.cause is not None
    assert told.cause.reason == "NodeLost"
    assert "copy chat-r-0 is placed elsewhere" in told.cause.message
    assert not told.down
    assert judged(pod("b"), found=LOST, former=told.record, made=made, answers=True).cause is None


def test_a_new_pod_elsewhere_is_not_taken_down_for_the_old_one_that_hangs() -> None:
    hangs = pod("a", node="gpu-2", going=True)
    verdict = judged(pod("b"), hangs, found=LOST)
    assert not verdict.down
    assert [item.uid for item in verdict.forced] == ["a"]


def test_pods_of_a_former_workload_that_hang_on_a_lost_node_are_forced_and_nothing_else() -> None:
    hangs = pod("a", worker=1, node="gpu-2", born=START - 600, going=True)
    verdict = judged(*group("l2", "b"), hangs, found=LOST, size=2)
    assert (verdict.down, verdict.silent) == (False, False)
    assert [item.uid for item in verdict.forced] == ["a"]


def test_a_pod_of_a_former_workload_that_nobody_has_deleted_is_not_forced() -> None:
    stays = pod("a", worker=1, node="gpu-2", born=START - 600)
    assert judged(*group("l2", "b"), stays, found=LOST, size=2).forced == ()


def test_of_a_copy_that_is_being_drained_only_what_a_lost_node_holds_is_forced() -> None:
    hangs, sound = pod("a", node="gpu-2"), pod("b")
    gone = Patient(name="chat-r-0", revision="chat-r", size=1, workload=None, pods=[hangs, sound])
    assert healing.judge_leaving(gone, faults=LOST) == Verdict(record=None, forced=(hangs,))
    there = replace(gone, workload=workload(), pods=[sound])
    assert healing.judge_leaving(there, faults=LOST) == Verdict(record=None)
    lost = healing.judge_leaving(replace(there, pods=[hangs]), faults=LOST)
    assert (lost.down, lost.forced, lost.record, lost.cause) == (True, (hangs,), None, None)


def test_what_was_told_of_a_node_stays_as_it_was_from_round_to_round() -> None:
    first = judged(pod("a", node="gpu-2"), found=LOST).record
    patient = Patient(name="chat-r-0", revision="chat-r", size=1, workload=workload(), pods=[pod("a", node="gpu-2")])
    later = NodeFaults(lost={"gpu-2": "node gpu-2 has not answered for 99 s"})
    again = healing.judge(patient, former=first, now=START + 38, gpu=GPU, faults=later, rules=HealingRules())
    assert again.record == first, "a status that changes with every look would be written with every look"


def test_no_pod_is_forced_where_its_node_answers() -> None:
    going = pod("a", going=True)
    assert judged(going, found=LOST).forced == ()


BROKEN = NodeFaults(broken={"gpu-1": "node gpu-1 says XidCriticalError=True"})


def test_a_copy_that_still_answers_leaves_a_broken_gpu_without_cutting_requests() -> None:
    verdict = judged(pod("a"), found=BROKEN, answers=True)
    assert (verdict.moves, verdict.down, verdict.silent) == (True, False, False)
    assert verdict.cause is not None
    assert verdict.cause.reason == "GpuLost"
    assert verdict.forced == ()


def test_one_that_does_not_answer_leaves_it_at_once() -> None:
    verdict = judged(pod("a"), found=BROKEN)
    assert (verdict.moves, verdict.down, verdict.silent) == (False, True, True)


@pytest.mark.parametrize(
    ("offers", "answers", "restarts", "leaves"),
    [
        (7, True, 0, True),
        (8, True, 0, False),
        (8, False, 1, True),
        (8, False, 0, False),
        (0, True, 1, False),
        (0, False, 1, True),
        (0, False, 0, False),
    ],
    ids=[
        "holds more than there are",
        "computes on what works",
        "ends on it",
        "still loads",
        "computes, whatever is offered",
        "ends where none is offered",
        "loads where none is offered",
    ],
)
def test_who_leaves_a_node_that_is_short_of_a_gpu(offers: int, answers: bool, restarts: int, leaves: bool) -> None:
    """Each pod asks for 8."""
    left = CRASH if restarts else None
    verdict = judged(pod("a", restarts=restarts, left=left), found=NodeFaults(short={"gpu-1": offers}), answers=answers)
    assert (verdict.down or verdict.moves) is leaves


@pytest.mark.parametrize(("offers", "told"), [(7, "offers 7 of its GPUs"), (0, "offers none of its GPUs")])
def test_it_is_told_how_many_gpus_are_left(offers: int, told: str) -> None:
    verdict = judged(pod("a", restarts=1, left=CRASH), found=NodeFaults(short={"gpu-1": offers}))
    assert verdict.cause is not None
    assert told in verdict.cause.message


def test_of_a_copy_that_is_gone_pods_on_a_lost_node_are_forced_and_nothing_is_remembered() -> None:
    hangs = [pod("l", worker=0, going=True), pod("a", worker=1, node="gpu-2", going=True)]
    patient = Patient(name="chat-r-0", revision="chat-r", size=2, workload=None, pods=hangs)
    verdict = healing.judge(patient, former=None, now=START, gpu=GPU, faults=LOST, rules=HealingRules())
    assert (verdict.record, verdict.cause, verdict.silent) == (None, None, False)
    assert [item.uid for item in verdict.forced] == ["a"]


def test_a_doubt_about_its_node_does_not_hide_what_a_copy_failed_of() -> None:
    doubt = "4 of 7 GPU nodes look lost at once"
    for found in (
        NodeFaults(doubted=frozenset({"gpu-1"}), distrusted=doubt),
        NodeFaults(doubted_gpus=frozenset({"gpu-1"}), distrusted=doubt),
    ):
        first = judged(pod("a", restarts=1, left=CRASH), found=found)
        again = judged(pod("a", restarts=2, left=CRASH), found=found, former=first.record)
        assert again.cause is not None
        assert again.cause.reason == "RestartDelayed"


def test_only_what_a_group_asks_of_the_node_itself_is_held_against_what_is_left_there() -> None:
    pods = [pod("l", worker=0), pod("a", worker=1, node="gpu-2")]
    verdict = judged(*pods, found=NodeFaults(short={"gpu-1": 8}), size=2, answers=True)
    assert (verdict.down, verdict.moves) == (False, False)


def test_what_is_going_from_a_lost_node_is_not_taken_down_again() -> None:
    hangs = pod("a", node="gpu-2")
    verdict = judged(hangs, found=LOST, made=workload(going=True))
    assert (verdict.down, verdict.silent) == (False, True)
    assert verdict.forced == (hangs,)
    assert not judged(pod("a"), found=BROKEN, made=workload(going=True), answers=True).moves


def test_a_copy_without_gpus_that_ends_on_a_node_short_of_one_stays_there() -> None:
    ends = pod("a", restarts=1, left=CRASH)
    ends.manifest["spec"]["containers"] = [{"resources": {"limits": {"memory": "1Gi", "cpu": "4"}}}, {}]
    verdict = judged(ends, found=NodeFaults(short={"gpu-1": 7}))
    assert (verdict.down, verdict.moves, verdict.cause) == (False, False, None)


def test_one_that_finds_no_node_is_made_anew_once_the_node_that_it_avoids_is_mended() -> None:
    waits = unplaced("a", worker=0, since=START)
    sound, doubted = NodeFaults(), NodeFaults(distrusted="nodes were not heard of lately")
    assert judged(waits, found=sound, avoids=("gpu-1",)).down
    assert not judged(waits, found=sound).down
    assert not judged(waits, found=BROKEN, avoids=("gpu-1",)).down
    assert not judged(waits, found=doubted, avoids=("gpu-1",)).down
    assert not judged(pod("a"), found=sound, avoids=("gpu-1",)).down


def test_one_that_the_scheduler_has_not_looked_at_or_that_is_placed_in_part_is_not_made_anew() -> None:
    assert not judged(pod("a", node=None), found=NodeFaults(), avoids=("gpu-9",)).down
    partly = [pod("l", worker=0), unplaced("a", worker=1, since=START)]
    assert not judged(*partly, found=NodeFaults(), size=2, avoids=("gpu-9",)).down


def test_no_copy_is_made_anew_for_a_node_that_is_only_its_last_choice() -> None:
    waits = unplaced("a", worker=0, since=START)
    assert not judged(waits, found=NodeFaults(), avoids=(f"{LAST_CHOICE}gpu-1",)).down


def test_a_gpu_that_is_not_believed_to_be_lost_is_told_of_where_a_copy_does_not_answer() -> None:
    found = NodeFaults(doubted_gpus=frozenset({"gpu-1"}), distrusted="3 of 3 GPU nodes look short of a GPU at once")
    verdict = judged(pod("a"), found=found)
    assert (verdict.down, verdict.moves) == (False, False)
    assert verdict.cause is not None
    assert (verdict.cause.reason, "3 of 3" in verdict.cause.message) == ("NodesDoubted", True)
    assert judged(pod("a"), found=found, answers=True).cause is None


def test_a_copy_that_is_given_up_stays_given_up_on_a_lost_node() -> None:
    spent = judged(pod("a", restarts=1, left=CRASH), found=NodeFaults())
    assert spent.record is not None
    patient = Patient(
        name="chat-r-0",
        revision="chat-r",
        size=1,
        workload=None,
        pods=[pod("a", restarts=1, left=CRASH, node="gpu-2", going=True)],
    )
    rules = HealingRules(budget=1)
    former = healing.judge(
        replace(patient, workload=workload(), pods=[pod("a", restarts=1, left=CRASH)]),
        former=None,
        now=START,
        rules=rules,
    ).record
    verdict = healing.judge(patient, former=former, now=START, faults=LOST, rules=rules)
    assert verdict.failed_for_good
    assert [item.uid for item in verdict.forced] == ["a"]


def test_broken_nodes_are_kept_off_and_short_ones_are_the_last_choice_each_named_once_and_in_order() -> None:
    found = NodeFaults(broken={"b": "why", "a": "why"}, short={"d": 1, "b": 1, "c": 2})
    assert found.avoided == ("a", "b", f"{LAST_CHOICE}c", f"{LAST_CHOICE}d")


def test_what_else_the_vendor_counts_on_a_node_is_no_gpu() -> None:
    other = "nvidia.com/hostdev"
    sound = node("d", capacity={GPU: "8", other: "4"}, allocatable={GPU: "8", other: "3"})
    assert faults(*SOUND, sound) == NodeFaults()


@pytest.mark.parametrize("more", [{}, {"message": None}])
def test_a_fault_that_is_told_without_words_is_told_without_words(more: dict[str, Any]) -> None:
    said = {"type": "GPUMissing", "status": "True", "reason": "Gone", **more}
    assert faults(*SOUND, node("d", conditions=[said])).broken == {"d": "node d says GPUMissing=True: Gone"}


@pytest.mark.parametrize(("has", "offers", "bare"), [("1", "0", True), ("8", "0", True), ("1", "1", False)])
def test_one_that_offers_none_of_its_gpus_is_bare(has: str, offers: str, bare: bool) -> None:
    assert is_bare(node("n", capacity={GPU: has}, allocatable={GPU: offers}), rules=RULES) is bare


@pytest.mark.parametrize("status", [{}, None, {"capacity": None}, {"capacity": {"cpu": "8"}, "allocatable": {}}])
def test_one_without_gpus_is_never_bare_nor_short(status: dict[str, Any] | None) -> None:
    plain = {"metadata": {"name": "n"}, "status": status}
    assert not is_bare(plain, rules=RULES)
    assert faults_of([plain], now=START, fresh=True, rules=RULES) == NodeFaults()


def test_the_last_gpu_that_is_offered_counts_and_an_amount_that_is_no_number_does_not() -> None:
    last, others = node("n", allocatable={GPU: "1"}), [node(name) for name in "abc"]
    assert faults(last, *others).short == {"n": 1}
    odd = node("n", capacity={GPU: "8", "nvidia.com/mig-1g.10gb": "1k"})
    assert faults(odd, *others).short == {}


def test_what_a_node_says_is_told_without_end_to_nobody() -> None:
    broken = {"type": "GPUMissing", "status": "True", "reason": None, "message": "x" * 1000}
    tainted = {"taints": [{"key": "gpu-broken", "value": "y" * 1000}]}
    rules = FaultRules(taints=("gpu-broken",))
    found = faults(node("m", conditions=[broken]), node("t", spec=tainted), node("a"), node("b"), rules=rules).broken
    assert found["m"].startswith("node m says GPUMissing=True: xxx")
    assert found["t"].startswith("node t has the taint gpu-broken=yyy")
    assert {len(why) for why in found.values()} == {MAX_MESSAGE}
