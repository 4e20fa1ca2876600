"""A copy that is ready and generates nothing: when that is a failure, how often it is counted, and what comes of it."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paddock_core.resources import names
from paddock_core.resources.llamadeployment import CopyStatus
from paddock_operator.decide import healing
from paddock_operator.decide.answers import Answers, most_silent
from paddock_operator.decide.healing import HealingRules
from paddock_operator.decide.node_faults import NO_FAULTS, NodeFaults
from paddock_operator.decide.patients import Patient
from paddock_operator.decide.verdicts import Verdict
from paddock_operator.kinds import LEADER_WORKER_SET, REPLICA_SET
from paddock_operator.observed import Child

from tests.operator import platforms
from tests.operator.platforms import licensed
from tests.operator.test_healing import CRASH, GPU, START, pod, workload

RULES = HealingRules(hung_seconds=600.0)
LONG = RULES.hung_seconds
WORDS = "no answer from http://10.0.0.7:8000: TimeoutError"
DISRUPTED = {"type": "DisruptionTarget", "status": "True"}


@dataclass
class Case:
    """A copy over some rounds, of which the status alone is remembered."""

    pods: list[Child] = field(default_factory=lambda: [pod("a", ready_since=START)])
    silent: dict[str, float] = field(default_factory=lambda: {"a": LONG})
    size: int = 1
    now: float = START + LONG
    answers: bool = False
    unasked: bool = False
    faults: NodeFaults = NO_FAULTS
    record: CopyStatus | None = None
    made: Child = field(default_factory=workload)

    def look(self) -> Verdict:
        patient = Patient(
            name="chat-r-0",
            revision="chat-r",
            size=self.size,
            workload=self.made,
            pods=self.pods,
            answers=self.answers,
            unasked=self.unasked,
            silent=self.silent,
            problems=dict.fromkeys(self.silent, WORDS),
        )
        verdict = healing.judge(patient, former=self.record, now=self.now, gpu=GPU, faults=self.faults, rules=RULES)
        self.record = verdict.record
        return verdict

    @property
    def failures(self) -> int:
        return 0 if self.record is None else self.record.failures


def group(**changes: Any) -> Case:
    """A group of two that has answered."""
    pods = [pod("l", worker=0, ready_since=START), pod("w", worker=1, ready_since=START)]
    case = Case(pods=pods, size=2, silent={}, answers=True, **changes)
    case.look()
    case.answers, case.silent = False, {"l": LONG}
    return case


def test_it_is_counted_once_and_goes_in_the_round_after_that_was_written() -> None:
    case = Case()
    first = case.look()
    assert (case.failures, first.down, first.silent) == (1, False, True)
    assert first.look_after_seconds == 1.0
    second = case.look()
    assert (case.failures, second.down, second.silent) == (1, True, True)
    assert second.cause is not None
    assert second.cause.reason == "EngineHung"
    evidence = case.record and case.record.evidence
    assert evidence
    assert (evidence.reason, evidence.pod, evidence.node) == ("EngineHung", "chat-a", "gpu-1")
    assert WORDS in evidence.message
    assert "600 s" in evidence.message
    assert WORDS in second.cause.message


def test_a_round_whose_status_was_lost_takes_nothing_down() -> None:
    case = Case()
    assert not case.look().down
    case.record = None
    assert not case.look().down
    assert case.failures == 1


def test_where_it_could_not_be_deleted_it_is_not_counted_again_also_by_another_process() -> None:
    case = Case()
    case.look()
    for silent in ({"a": LONG + 60}, {}, {"a": 1.0}):
        case.silent = silent
        case.now += 60
        assert case.look().down
        assert case.failures == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"silent": {"a": LONG - 0.1}},
        {"silent": {}},
        {"silent": {"another": LONG}},
        {"pods": [pod("a")]},
        {"pods": []},
        {"pods": [pod("a", ready_since=START, going=True)]},
        {"pods": [pod("a", ready_since=START, conditions=[DISRUPTED])]},
        {"pods": [pod("a", ready_since=START, born=START - 60)]},
        {"answers": True},
        {"answers": True, "unasked": True},
        {"made": workload(going=True)},
        {"faults": NodeFaults(doubted=frozenset({"gpu-1"}), distrusted="most nodes look lost")},
        {"faults": NodeFaults(waiting={"gpu-1": 20.0})},
    ],
    ids=[
        "not for long enough",
        "doubted, or not asked",
        "silence of another pod",
        "it loads",
        "no pod",
        "its pod is going",
        "somebody else ends it",
        "a former workload's pod",
        "it answers",
        "nobody asked it yet",
        "it is being deleted",
        "a node that is doubted",
        "a node that will soon count as lost",
    ],
)
def test_what_is_no_hang_counts_for_nothing(changes: dict[str, Any]) -> None:
    case = Case(**changes)
    verdict = case.look()
    assert case.failures == 0
    assert not verdict.down


def test_one_that_answers_again_before_it_goes_stays() -> None:
    for case in (Case(), group()):
        case.look()
        case.answers, case.silent = True, {}
        verdict = case.look()
        assert (verdict.down, verdict.silent, verdict.held) == (False, False, False)
        assert case.failures == 1


def test_a_group_goes_as_a_whole_and_is_not_said_to_have_lost_a_worker() -> None:
    case = group()
    first, second = case.look(), case.look()
    assert (first.down, second.down, case.failures) == (False, True, 1)
    assert second.cause is not None
    assert second.cause.reason == "EngineHung"
    # What its pods end of on the way is the same failure.
    case.pods = [case.pods[0], pod("w", worker=1, restarts=1, left=CRASH)]
    assert case.look().down
    assert case.failures == 1


def test_a_group_that_has_failed_already_is_not_counted_again_for_its_silence() -> None:
    case = group()
    case.silent = {}
    case.pods = [case.pods[0], pod("w", worker=1, restarts=1, left=CRASH)]
    case.look()
    case.silent = {"l": LONG}
    case.look()
    assert case.failures == 1


def test_that_nobody_has_asked_it_yet_forgets_no_failure() -> None:
    case = Case()
    case.look()
    case.made = workload("w2", born=START + LONG + 1)
    case.pods = [pod("b", born=START + LONG + 2, ready_since=START + LONG + 5)]
    case.silent, case.answers, case.unasked = {}, True, True
    case.now += 2 * RULES.forget_seconds
    case.look()
    assert case.failures == 1
    case.unasked = False
    case.look()
    assert case.failures == 0


@given(hangs=st.lists(st.floats(0.0, 2 * LONG), min_size=1, max_size=12))
def test_each_life_counts_once_at_most_and_the_budget_ends_it(hangs: list[float]) -> None:
    case, counted = Case(), 0
    for number, silent in enumerate(hangs):
        case.now += 3 * RULES.longest_pause_seconds
        case.made = workload(f"w{number}", born=case.now)
        case.pods = [pod(f"p{number}", born=case.now, ready_since=case.now)]
        case.silent = {f"p{number}": silent}
        if case.record is not None and not case.record.retry_at:
            break
        case.now += LONG
        looks = [case.look() for _ in range(3)]
        counted += silent >= LONG
        assert case.failures == counted
        assert [look.down for look in looks] == ([False, True, True] if silent >= LONG else [False] * 3)
    assert counted <= RULES.budget
    assert (case.record is not None and not case.record.retry_at) == (counted == RULES.budget)


@pytest.mark.parametrize(
    ("deployments", "silent"),
    [
        ([[3], [3], [3]], False),
        ([[3], [3], [3], [3]], True),
        ([[3], [3], [0], [0]], False),
        ([[3], [3], [3], [0], [0]], True),
        ([[3, 3, 3, 3, 3], [0]], False),
        ([[3, 3], [3, 0], [0, 0]], False),
        ([[3, 3, 3, 3]], True),
        ([[3], [3], [3], [0, 0, 0]], False),
        ([[3], [3], [3], [0, 0]], True),
        ([[3, None], [3, None], [3], [None, None]], False),
        ([[], [], []], False),
    ],
)
def test_that_most_deployments_are_silent_at_once_says_more_of_the_prober(
    deployments: list[list[int | None]], silent: bool
) -> None:
    """By how many probes in a row each pod has failed; None: nobody knows yet."""
    known = [
        [Answers() if failures is None else Answers(good=not failures, failures=failures) for failures in pods]
        for pods in deployments
    ]
    assert most_silent(known) == silent


CONFIG = replace(platforms.CONFIG, healing=HealingRules(budget=2))


@pytest.fixture(scope="module")
def world(worlds: Any) -> Any:
    """Two copies of one pod each, that answer."""
    spec = {"model": {"id": "smollm2-135m-instruct"}, "replicas": 2}
    made = worlds.World(config=CONFIG, policy=licensed("llama3.2"), spec=spec)
    made.rounds()
    return made


def hang(world: Any, copy: str) -> None:
    world.answer(copy, WORDS)
    world.silent = {pod["metadata"]["uid"]: LONG for pod in world.pods(copy)}


def condition(world: Any, kind: str) -> Any:
    return next((item for item in world.parsed().conditions if item.type == kind), None)


def test_a_copy_that_hangs_is_made_anew_alone_and_given_up_when_it_goes_on_so(world: Any) -> None:
    world = world.copy()
    bad, good = world.names(REPLICA_SET)
    before = {name: world.pods(name)[0]["metadata"]["uid"] for name in (bad, good)}
    hang(world, bad)
    world.round(silent=world.silent)
    degraded = condition(world, "Degraded")
    assert (degraded.status, degraded.reason) == ("True", "EngineHung")
    assert WORDS in degraded.message
    assert bad in world.names(REPLICA_SET), "its failure is written first"
    world.round(silent=world.silent)
    assert bad not in world.names(REPLICA_SET)
    world.rounds()
    assert world.parsed().ready_replicas == 2
    assert condition(world, "Degraded") is None
    assert world.pods(good)[0]["metadata"]["uid"] == before[good]
    assert world.pods(bad)[0]["metadata"]["uid"] != before[bad]
    hang(world, bad)
    for _ in range(3):
        world.round(silent=world.silent)
    assert world.names(REPLICA_SET) == [good]
    assert condition(world, "Degraded").reason == "GroupFailed"
    assert WORDS in condition(world, "Degraded").message


def test_of_a_group_its_leader_stands_for_all(worlds: Any, pairs: Any) -> None:
    spec = {
        "model": {"id": "llama-3.2-1b-instruct"},
        "engine": {"type": "LLMAPI"},
        "parallelism": {"tensor": 1, "pipeline": 2},
    }
    apis, policy = frozenset({LEADER_WORKER_SET}), licensed("llama3.2")
    world = worlds.World(config=CONFIG, policy=policy, spec=spec, inventory=pairs.one_each(), apis=apis)
    world.rounds()
    (copy,) = world.names(LEADER_WORKER_SET)
    before = {pod["metadata"]["uid"] for pod in world.pods(copy)}
    world.answer(copy, WORDS)
    leader = next(pod for pod in world.pods(copy) if pod["metadata"]["labels"][names.WORKER_INDEX] == "0")
    for _ in range(2):
        world.round(silent={leader["metadata"]["uid"]: LONG})
    world.rounds()
    after = {pod["metadata"]["uid"] for pod in world.pods(copy)}
    assert len(after) == 2
    assert not before & after
    assert world.parsed().ready_groups == 1
