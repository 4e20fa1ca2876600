"""A former copy that goes for one without a place is back in time, and goes for none that its place is no help to."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paddock_core.resources import names
from paddock_core.resources.conditions import ConditionReason, ConditionType, fails, holds
from paddock_core.resources.llamadeployment import RolloutSpec
from paddock_operator.decide.causes import Cause
from paddock_operator.decide.copies import Copy
from paddock_operator.decide.outcome import Outcome
from paddock_operator.decide.progress import progressing
from paddock_operator.decide.rollout.types import Verdict

from tests.operator.rehearsal import DRAINS, LOADS, serving

DEADLINE = 200
ROUND = 5.0
GPU = "0/9 nodes are available: 9 Insufficient nvidia.com/gpu"


def copy(reason: ConditionReason, words: str) -> Copy:
    cause = Cause(reason=reason, message=words)
    return Copy(name=f"{names.COPY}-0", revision="b", index=0, workload=None, pods=(), unplaced=cause)


@pytest.mark.parametrize(
    ("reason", "words", "helps"),
    [
        (ConditionReason.INSUFFICIENT_GPU, GPU, True),
        (ConditionReason.INSUFFICIENT_RESOURCES, "9 Insufficient memory", True),
        (ConditionReason.QUEUED, "waits for the queue gpus", True),
        (ConditionReason.UNSCHEDULABLE, "9 node(s) didn't match pod anti-affinity rules", True),
        (ConditionReason.UNSCHEDULABLE, "9 node(s) didn't satisfy existing pods anti-affinity rules", True),
        (ConditionReason.UNSCHEDULABLE, "9 Too many pods", True),
        (ConditionReason.UNSCHEDULABLE, "9 node(s) didn't match Pod's node affinity/selector", False),
        (ConditionReason.UNSCHEDULABLE, "9 node(s) didn't match pod affinity rules", False),
        (ConditionReason.UNSCHEDULABLE, "9 node(s) had untolerated taint {team: other}", False),
        (ConditionReason.UNSCHEDULABLE, "9 node(s) had volume node affinity conflict", False),
        (ConditionReason.UNSCHEDULABLE, "no node fits", False),
    ],
)
def test_room_helps_only_against_a_lack_of_room(reason: ConditionReason, words: str, helps: bool) -> None:
    assert copy(reason, words).starved is helps


def test_one_that_has_its_nodes_lacks_nothing() -> None:
    assert not Copy(name="a-0", revision="a", index=0, workload=None, pods=()).starved


@given(
    strategy=st.sampled_from(["RollingUpdate", "DrainFirst", "BlueGreen", "Canary"]),
    wanted=st.integers(1, 4),
    surge=st.integers(0, 2),
    missing=st.integers(0, 2),
    turns=st.integers(0, 3),
    devices=st.integers(4, 9),
)
@settings(max_examples=100, deadline=None)
def test_a_floor_that_was_lowered_for_a_queue_is_up_again_in_time(
    *, strategy: str, wanted: int, surge: int, missing: int, turns: int, devices: int
) -> None:
    """Whatever number of its copies the queue lets in."""
    spec = RolloutSpec(strategy=strategy, max_surge=surge, max_unavailable=missing, deadline_seconds=DEADLINE)
    cluster = serving(spec, wanted=wanted, devices=devices)
    cluster.target, cluster.admits = "b", {"b": turns}
    # Without room for one more, each copy that goes ends its requests before the next one loads; there and back.
    replaced = 2 * wanted * (DRAINS + LOADS + 4 * ROUND)
    low_since = None
    for _ in range(200):
        step = cluster.round()
        asked = [item.look for item in cluster.copies.values() if item.look.answering and not item.look.draining]
        low = sum(1 for item in asked if item.revision in step.weights) < wanted - missing
        low_since = (low_since or cluster.now) if low else None
        assert low_since is None or cluster.now - low_since <= DEADLINE + replaced, step
        cluster.pass_time(ROUND)
        if step.verdict in (Verdict.STEADY, Verdict.ROLLED_BACK):
            break
    assert low_since is None


class TestWhatIsTold:
    QUEUED = fails(ConditionType.SCHEDULED, ConditionReason.QUEUED, "pod b-0-x waits for the queue gpus")

    @pytest.mark.parametrize(
        ("verdict", "in_vain", "found"),
        [
            (Verdict.ROLLING, "", holds),
            (Verdict.ROLLING, "a former copy went for copy b-0", fails),
            (Verdict.GOING_BACK, "copy a-0 is to come back", fails),
        ],
    )
    def test_a_copy_that_went_for_nothing_is_no_progress(self, verdict: Verdict, in_vain: str, found: object) -> None:
        outcome = Outcome(findings=(self.QUEUED,), wanted=1, verdict=verdict, in_vain=in_vain)
        text = in_vain or "waits for the condition Scheduled"
        assert progressing(outcome) == (found(ConditionType.PROGRESSING, ConditionReason.QUEUED, text),)  # type: ignore[operator]

    @pytest.mark.parametrize(
        ("verdict", "reason"),
        [(Verdict.STOPPED, ConditionReason.ROLLOUT_FAILED), (Verdict.ROLLED_BACK, ConditionReason.QUEUED)],
    )
    def test_one_that_is_stopped_waits_for_no_queue(self, verdict: Verdict, reason: ConditionReason) -> None:
        outcome = Outcome(findings=(self.QUEUED,), wanted=1, verdict=verdict, note="why")
        assert [finding.reason for finding in progressing(outcome)] == [reason]
