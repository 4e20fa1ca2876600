"""The condition Progressing, by what a round has found: what is waited for, what is stuck, and what is at rest."""

from typing import Any

import pytest
from paddock_core.resources.conditions import ConditionReason, ConditionType, Finding, fails, holds
from paddock_operator.decide.outcome import Outcome
from paddock_operator.decide.progress import progressing
from paddock_operator.decide.rollout.types import Verdict

PLACED = holds(ConditionType.SCHEDULED, ConditionReason.SCHEDULED, "")
SERVES = holds(ConditionType.SERVING, ConditionReason.SERVING, "")
QUEUED = fails(ConditionType.SCHEDULED, ConditionReason.QUEUED, "")
PENDING = fails(ConditionType.SCHEDULED, ConditionReason.PODS_PENDING, "")
STOPPED = fails(ConditionType.SERVING, ConditionReason.STOPPED, "")
LACKING = fails(ConditionType.QUOTA_AVAILABLE, ConditionReason.GPU_QUOTA_EXCEEDED, "")


def said(*findings: Finding, **changes: Any) -> tuple[str, str, str] | None:
    """Status, reason and words; None where nothing is to come."""
    found = progressing(Outcome(findings=findings, **changes))
    if not found:
        return None
    (finding,) = found
    assert finding.type == ConditionType.PROGRESSING
    return finding.status, finding.reason, finding.message


def test_what_is_stopped_is_at_rest_unless_something_before_it_is_wrong() -> None:
    assert said(PLACED, STOPPED) is None
    assert said(STOPPED, LACKING) is None
    assert said(LACKING, STOPPED) == (
        "False", "GpuQuotaExceeded", "does not get on: see the condition QuotaAvailable"
    )  # fmt: skip


@pytest.mark.parametrize("verdict", [Verdict.ROLLING, Verdict.STEADY])
def test_what_moves_by_itself_is_waited_for_and_the_rest_is_not(verdict: Verdict) -> None:
    assert said(PENDING, verdict=verdict) == ("True", "PodsPending", "waits for the condition Scheduled")
    assert said(LACKING, PENDING, verdict=verdict) == (
        "False", "GpuQuotaExceeded", "does not get on: see the condition QuotaAvailable"
    )  # fmt: skip


class TestAChangeThatFailed:
    def test_it_is_told_once_nothing_is_waited_for(self) -> None:
        assert said(PLACED, SERVES, verdict=Verdict.STOPPED, note="why") == ("False", "RolloutFailed", "why")
        assert said(PLACED, SERVES, verdict=Verdict.ROLLED_BACK, note="why") == ("False", "RolledBack", "why")

    def test_where_it_was_left_as_it_is_a_queue_does_not_hide_it(self) -> None:
        assert said(QUEUED, verdict=Verdict.STOPPED, note="why") == ("False", "RolloutFailed", "why")
        assert said(QUEUED, verdict=Verdict.ROLLED_BACK) == ("True", "Queued", "waits for the condition Scheduled")

    def test_anything_else_that_is_waited_for_comes_first(self) -> None:
        assert said(PENDING, verdict=Verdict.STOPPED) == ("True", "PodsPending", "waits for the condition Scheduled")


def test_a_queue_for_which_a_copy_went_in_vain_does_not_get_on_and_nothing_else_is_told_so() -> None:
    assert said(QUEUED, in_vain="a copy went") == ("False", "Queued", "a copy went")
    assert said(PENDING, in_vain="a copy went") == ("True", "PodsPending", "waits for the condition Scheduled")
    assert said(PLACED, SERVES, in_vain="a copy went", wanted=1, ready_replicas=1) is None


class TestCopies:
    def test_where_all_answer_and_nothing_changes_nothing_is_to_come(self) -> None:
        assert said(PLACED, SERVES) is None
        assert said(PLACED, SERVES, wanted=2, ready_replicas=2) is None
        assert said(PLACED, SERVES, wanted=2, ready_replicas=3) is None

    @pytest.mark.parametrize(
        ("ready", "changes", "words"),
        [
            (1, {}, "1 of 2 copies answer; the others are coming up"),
            (1, {"note": "step 1"}, "1 of 2 copies answer; step 1"),
            (2, {"verdict": Verdict.ROLLING, "note": "step 1"}, "2 of 2 copies answer; step 1"),
            (3, {"verdict": Verdict.GOING_BACK}, "3 copies answer, 2 wanted; the others are coming up"),
        ],
    )
    def test_copies_that_are_to_come_are_told(self, ready: int, changes: dict[str, Any], words: str) -> None:
        assert said(PLACED, SERVES, wanted=2, ready_replicas=ready, **changes) == ("True", "RollingOut", words)
