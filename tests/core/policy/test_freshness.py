"""How long a copy of the policy lives."""

from hypothesis import given
from hypothesis import strategies as st
from paddock_core.policy.freshness import Freshness
from paddock_core.policy.wire import Changes

COPY = Freshness(max_age_seconds=900, renewed_at=1000, boot_id="this", ahead_seconds=1_800_000_000)


@given(st.floats(min_value=0, max_value=900))
def test_a_copy_lives_for_its_age(age: float) -> None:
    assert not COPY.expired(now=1000 + age, boot_id="this")


@given(st.floats(min_value=900.001, max_value=1e9))
def test_an_older_copy_is_expired(age: float) -> None:
    assert COPY.expired(now=1000 + age, boot_id="this")


@given(st.floats(min_value=0, max_value=1e9))
def test_a_copy_from_before_a_reboot_is_expired(now: float) -> None:
    assert COPY.expired(now=now, boot_id="another")


def test_a_clock_that_ran_backwards_does_not_help() -> None:
    assert COPY.expired(now=999, boot_id="this")


def test_followers_tell_the_time_by_the_control_plane() -> None:
    assert COPY.unix(now=1300) == 1_800_001_300


def test_an_answer_renews_the_copy_as_of_the_moment_of_asking() -> None:
    answer = Changes(revision=3, max_age_seconds=900, at=1_800_000_100.0, changes=())
    copy = Freshness.renewed(answer, asked=1000, now=1100, boot_id="this")
    assert not copy.expired(now=1900, boot_id="this")
    assert copy.expired(now=1901, boot_id="this")
    assert copy.unix(now=1100) == answer.at
