"""What the status remembers of copies and revisions after a round, and of whose troubles it speaks."""

from collections.abc import Mapping
from typing import Any

import pytest
from paddock_core.resources import names
from paddock_core.resources.conditions import ConditionReason
from paddock_core.resources.llamadeployment import CopyStatus, EvidenceStatus, QuotaStatus, ScalingStatus
from paddock_operator.decide import revisions, scaling
from paddock_operator.decide.causes import Cause
from paddock_operator.decide.copies import Copy
from paddock_operator.decide.outcome import Life
from paddock_operator.decide.quota import Judgement as Quota
from paddock_operator.decide.revisions import Revision
from paddock_operator.decide.rollout.types import Standing, State, Step
from paddock_operator.decide.seen import Course, Seen
from paddock_operator.decide.told import held_back, life_of, troubles
from paddock_operator.decide.verdicts import Verdict
from paddock_operator.times import format_time

from tests.operator.platforms import CONFIG, licensed
from tests.operator.test_lives_of_copies import DEMO
from tests.operator.test_routing_at_its_edges import copy

LOST, GONE = "chat-r-9", "chat-r-8"
SERVES = Step(goal="r")


def record(name: str, *, reason: str = "NodeLost", retry_at: str = "", revision: str = "r") -> CopyStatus:
    evidence = EvidenceStatus(pod="p", reason=reason)
    return CopyStatus(name=name, revision=revision, failures=0, failed_at="", retry_at=retry_at, evidence=evidence)


def verdict(name: str, *, known: CopyStatus | None = None, why: ConditionReason = ConditionReason.NODE_LOST) -> Verdict:
    return Verdict(record=known or record(name), held=True, cause=Cause(reason=why, message=name))


def seen(*copies: Copy, verdicts: Mapping[str, Verdict] | None = None) -> Seen:
    """With one that left its node and is not there."""
    found = {LOST: verdict(LOST)} if verdicts is None else verdicts
    return Seen(copies=copies, verdicts=found, denied={}, drains={})


def told(look: Seen, step: Step = SERVES) -> list[str]:
    return [cause.message for cause in troubles(look, step)]


class TestOneThatLeftItsNode:
    @pytest.mark.parametrize(
        ("others", "forgone"),
        [
            ((), False),
            ((copy("r"),), True),
            ((copy("r"), copy("r", 1)), True),
            ((copy("r"), copy("r", 1, answering=False)), False),
            ((copy("r"), copy("r", 1, answering=None)), False),
            # Those of another revision, and those that go, neither stand for it nor keep it.
            ((copy("s"),), False),
            ((copy("r"), copy("s", answering=False)), True),
            ((copy("r", draining_since=1.0),), False),
            ((copy("r"), copy("r", 1, answering=False, draining_since=1.0)), True),
            ((copy("r", workload=None),), False),
            ((copy("r"), copy("r", 1, answering=False, workload=None)), True),
        ],
    )
    def test_it_is_forgotten_once_all_others_answer(self, others: tuple[Copy, ...], forgone: bool) -> None:
        look = seen(*others)
        assert told(look) == ([] if forgone else [LOST])
        assert held_back(look, SERVES) == (0 if forgone else 1)

    @pytest.mark.parametrize(
        "known", [record(LOST, reason="CrashLooping"), record(LOST, retry_at="2027-01-01T00:00:00Z")]
    )
    def test_one_that_failed_or_is_to_come_back_is_not(self, known: CopyStatus) -> None:
        look = seen(copy("r"), verdicts={LOST: verdict(LOST, known=known)})
        assert (told(look), held_back(look, SERVES)) == ([LOST], 1)

    def test_one_of_which_nothing_is_known_is_not(self) -> None:
        bare = Verdict(record=None, cause=Cause(reason=ConditionReason.GPU_LOST, message="x"))
        assert told(seen(copy("r"), verdicts={LOST: bare})) == ["x"]

    def test_as_long_as_it_is_there_it_is_told_of(self) -> None:
        there = copy("r", 9)
        assert there.name == LOST
        assert told(seen(copy("r"), there)) == [LOST]
        assert told(seen(there), Step(goal="r", drain=frozenset({LOST}))) == [LOST]


def test_one_that_was_taken_down_and_is_not_wanted_back_is_forgotten() -> None:
    known = record(LOST, reason="CrashLooping")
    look = seen(verdicts={LOST: verdict(LOST, known=known), GONE: verdict(GONE)})
    step = Step(goal="r", drain=frozenset({LOST}))
    assert (told(look, step), held_back(look, step)) == ([GONE], 1)


def test_only_what_is_held_back_counts_as_held_back() -> None:
    free = Verdict(record=record(GONE), cause=Cause(reason=ConditionReason.NODE_LOST, message=GONE))
    assert held_back(seen(verdicts={LOST: verdict(LOST), GONE: free}), SERVES) == 1


def test_what_only_a_person_brings_back_is_told_first_and_then_by_name() -> None:
    last = verdict("chat-r-3", why=ConditionReason.GROUP_FAILED)
    silent = Verdict(record=record("chat-r-0"))
    verdicts = {
        "chat-r-2": verdict("chat-r-2"), "chat-r-1": verdict("chat-r-1"), "chat-r-3": last, "chat-r-0": silent
    }  # fmt: skip
    assert told(seen(verdicts=verdicts)) == ["chat-r-3", "chat-r-1", "chat-r-2"]


@pytest.fixture(scope="module")
def world(worlds: Any) -> Any:
    made = worlds.World(config=CONFIG, policy=licensed("llama3.2"), spec=DEMO)
    made.rounds()
    return made


def life(world: Any, look: Seen, step: Step = SERVES, *, made_at: str = "", **before: Any) -> Life:
    """After a round that found this, where the status and the revision's own object say when it was made."""
    (one,) = revisions.of(world.observed())
    metadata = {**one.manifest["metadata"], "creationTimestamp": made_at}
    revision = Revision(
        name="r", facts=one.facts, template=one.template, manifest={**one.manifest, "metadata": metadata}
    )
    observed = world.observed()
    if before:
        world = world.copy()
        world.status = {**world.status, "revisions": [{"name": "r", "state": "Current", **before}]}
        observed = world.observed()
    course = Course(
        target=revision,
        known={"r": revision},
        shared=(),
        namespace="paddock-serving-acme",
        wish="w",
        quota=Quota(finding=None, status=QuotaStatus(gpus=3, limit=4), copies=None, spare=None),
        drifted=True,
    )
    scaled = ScalingStatus(desired_replicas=2, reason="", scaled_at="")
    return life_of(observed, course, look, step, scaling.Verdict(desired=2, status=scaled))


class TestRecords:
    def test_what_other_judges_remember_is_kept_beside(self, world: Any) -> None:
        found = life(world, seen())
        assert (found.quota, found.drifted, found.rollout) == (QuotaStatus(gpus=3, limit=4), True, None)
        assert found.scaling is not None
        assert found.scaling.desired_replicas == 2

    def test_of_copies_they_are_kept_by_name_as_long_as_they_are_wanted(self, world: Any) -> None:
        verdicts = {LOST: verdict(LOST), GONE: verdict(GONE), "chat-r-0": Verdict(record=None)}
        assert [item.name for item in life(world, seen(verdicts=verdicts)).copies] == [GONE, LOST]
        step = Step(goal="r", drain=frozenset({LOST}))
        assert [item.name for item in life(world, seen(verdicts=verdicts), step).copies] == [GONE]


class TestRevisions:
    STANDS = Step(goal="r", standings=(Standing(revision="r", state=State.CURRENT),))
    THEN, BEFORE = "2027-01-02T00:00:00Z", "2027-01-01T00:00:00Z"

    def test_copies_are_counted_that_stay_and_of_these_those_that_answer(self, world: Any) -> None:
        copies = (
            copy("r"),
            copy("r", 1, answering=None),
            copy("r", 2, answering=False),
            copy("r", 3, draining_since=1.0),
            copy("r", 4, workload=None),
            copy("s"),
        )
        (found,) = life(world, seen(*copies, verdicts={}), self.STANDS).revisions
        assert (found.name, found.state, found.replicas, found.ready_replicas) == ("r", "Current", 4, 1)

    def test_when_it_was_made_stays_as_it_was_noted_first(self, world: Any) -> None:
        def made(**told: Any) -> str:
            (found,) = life(world, seen(verdicts={}), self.STANDS, **told).revisions
            return found.created_at

        assert made() == format_time(world.observed().now)
        assert made(made_at=self.THEN) == self.THEN
        assert made(made_at=self.THEN, createdAt=self.BEFORE) == self.BEFORE
        assert made(made_at=self.THEN, createdAt="") == self.THEN

    def test_why_it_failed_is_told(self, world: Any) -> None:
        failed = Step(goal="r", standings=(Standing(revision="x", state=State.FAILED, message="why"),))
        asked = world.copy()
        asked.metadata = {**world.metadata, "annotations": {names.RETRY: "7"}}
        (found,) = life(asked, seen(verdicts={}), failed).revisions
        assert (found.name, found.state, found.message, found.rendered_by) == ("x", "Failed", "why", "")
        assert found.retry == revisions.retry_of(asked.observed()) != ""
        (sound,) = life(asked, seen(verdicts={}), self.STANDS).revisions
        assert (sound.retry, sound.rendered_by) == ("", "1.0.0")
