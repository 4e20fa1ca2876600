"""Conditions: transition times and phases."""

from hypothesis import given
from hypothesis import strategies as st
from paddock_core.resources.conditions import (
    FALSE,
    TRUE,
    UNKNOWN,
    ConditionReason,
    ConditionType,
    Finding,
    fails,
    holds,
    merge,
    phase,
)

FINDINGS = st.lists(
    st.builds(
        Finding,
        type=st.sampled_from(ConditionType),
        status=st.sampled_from([TRUE, FALSE, UNKNOWN]),
        reason=st.sampled_from(ConditionReason),
        message=st.text(max_size=20),
    ),
    unique_by=lambda finding: finding.type,
)


@given(first=FINDINGS, second=FINDINGS)
def test_transition_time_changes_exactly_with_the_status(first: list[Finding], second: list[Finding]) -> None:
    before = merge(old=(), found=first, generation=1, now="t1")
    after = merge(old=before, found=second, generation=2, now="t2")
    statuses = {condition.type: condition.status for condition in before}
    assert [condition.type for condition in after] == [finding.type.value for finding in second]
    for condition in after:
        same = statuses.get(condition.type) == condition.status
        assert condition.last_transition_time == ("t1" if same else "t2")
        assert condition.observed_generation == 2


@given(found=FINDINGS)
def test_saying_the_same_again_changes_nothing(found: list[Finding]) -> None:
    once = merge(old=(), found=found, generation=1, now="t1")
    assert merge(old=once, found=found, generation=1, now="t2") == once


def test_long_messages_fit_the_schema() -> None:
    found = [fails(ConditionType.SERVING, ConditionReason.LOADING, "x" * 10000)]
    assert len(merge(old=(), found=found, generation=1, now="t")[0].message) <= 4096


def phase_of(*found: Finding) -> str:
    return phase(merge(old=(), found=found, generation=1, now="t"))


def test_phase_is_the_word_for_the_first_thing_that_is_missing() -> None:
    accepted = holds(ConditionType.ACCEPTED, "Accepted", "")
    licensed = holds(ConditionType.LICENSE_ACCEPTED, "Allowed", "")
    assert phase_of() == "Pending"
    assert phase_of(fails(ConditionType.ACCEPTED, ConditionReason.DELETING, "")) == "Terminating"
    assert phase_of(fails(ConditionType.ACCEPTED, ConditionReason.INVALID_SPEC, "")) == "Invalid"
    assert phase_of(accepted, fails(ConditionType.LICENSE_ACCEPTED, "AcceptanceMissing", "")) == "LicenseRequired"
    assert phase_of(accepted, licensed, fails(ConditionType.WEIGHTS_READY, "Preparing", "")) == "Preparing"
    assert phase_of(accepted, licensed, fails(ConditionType.SERVING, "Loading", "")) == "Starting"
    assert phase_of(accepted, licensed, fails(ConditionType.SERVING, ConditionReason.STOPPED, "")) == "Stopped"
    assert phase_of(accepted, licensed, holds(ConditionType.SERVING, "Serving", "")) == "Serving"
