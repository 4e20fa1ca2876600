"""Conditions: transition times and phases."""

import pytest
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
    is_well,
    merge,
    phase,
    unknown,
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


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        (ConditionType.ACCEPTED, "Invalid"),
        (ConditionType.LICENSE_ACCEPTED, "LicenseRequired"),
        (ConditionType.PLANNED, "Unplannable"),
        (ConditionType.QUOTA_AVAILABLE, "QuotaExceeded"),
        (ConditionType.WEIGHTS_READY, "Preparing"),
        (ConditionType.IMAGE_ACCEPTED, "ImageNotPinned"),
        (ConditionType.ENGINE_READY, "Building"),
        (ConditionType.SCHEDULED, "Scheduling"),
        (ConditionType.SERVING, "Starting"),
        (ConditionType.ROUTABLE, "Routing"),
    ],
)
def test_each_condition_that_does_not_hold_has_its_word(kind: ConditionType, word: str) -> None:
    assert phase_of(fails(kind, "Why", "")) == word
    assert phase_of(unknown(kind, "Why", "")) == "Unknown", "what is not known is not told as failed"
    assert phase_of(holds(kind, "Well", "")) == ("Serving" if kind is ConditionType.SERVING else "Pending")


@pytest.mark.parametrize("word", ["Stopped", "ScaledToZero", "Draining", "GroupFailed"])
def test_what_serving_says_of_itself_goes_before_all_that_is_missing(word: str) -> None:
    lacking = fails(ConditionType.PLANNED, "NoGPU", "")
    assert phase_of(lacking, fails(ConditionType.SERVING, word, "")) == word


def test_all_is_well_where_it_holds_and_degraded_where_it_does_not() -> None:
    for kind in ConditionType:
        well = kind is not ConditionType.DEGRADED
        found = [holds(kind, "Reason", ""), fails(kind, "Reason", ""), unknown(kind, "Reason", "")]
        told = [is_well(item) for item in merge(old=(), found=found, generation=1, now="t")]
        assert told == [well, not well, not well]
