"""The leaky bucket against exact arithmetic in fractions."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st
from paddock_core.quotas.rates import MINUTE, Bucket

limits = st.integers(1, 10**9)
steps = st.lists(st.tuples(st.integers(0, 5 * MINUTE), st.integers(0, 2000)), max_size=40)


@given(limit=limits, steps=steps)
def test_admits_exactly_what_the_definition_admits(limit: int, steps: list[tuple[int, int]]) -> None:
    bucket, now = Bucket(), 0
    level = Fraction(0)
    for passed, cost in steps:
        now += passed
        level = max(Fraction(0), level - Fraction(limit * passed, MINUTE))
        bucket.drain(limit, now)
        fits = level + cost <= limit
        assert bucket.fits(limit, cost) == fits
        assert bucket.room(limit) == max(0, int(limit - level))
        if fits:
            bucket.add(cost)
            level += cost


@given(
    limit=st.integers(1, 5000), costs=st.lists(st.integers(1, 50), min_size=1, max_size=200), gap=st.integers(0, 10**10)
)
def test_never_more_than_the_limit_beyond_what_drained(limit: int, costs: list[int], gap: int) -> None:
    bucket, now, taken = Bucket(), 0, 0
    for cost in costs:
        bucket.drain(limit, now)
        if bucket.fits(limit, cost):
            bucket.add(cost)
            taken += cost
        assert taken <= limit + Fraction(limit * now, MINUTE)
        now += gap


@given(limit=st.integers(1, 10**6), used=st.integers(0, 10**6), cost=st.integers(1, 10**6))
def test_waiting_as_told_is_enough_and_no_more_than_needed(limit: int, used: int, cost: int) -> None:
    bucket = Bucket()
    bucket.add(min(used, limit))
    wait = bucket.wait(limit, cost)
    if cost > limit:
        assert wait is None
        return
    assert wait is not None
    if wait:
        bucket.drain(limit, wait - 1)
        assert not bucket.fits(limit, cost)
    bucket.drain(limit, wait)
    assert bucket.fits(limit, cost)


def test_a_clock_that_runs_backwards_gives_nothing() -> None:
    bucket = Bucket()
    bucket.drain(60, MINUTE)
    bucket.add(60)
    bucket.drain(60, 0)
    assert bucket.room(60) == 0
    assert bucket.reset(60) == MINUTE


def test_a_refund_is_never_credit() -> None:
    bucket = Bucket()
    bucket.add(10)
    bucket.drain(60, MINUTE)
    bucket.give_back(10)
    assert bucket.room(60) == 60


def test_a_limit_of_zero_admits_nothing() -> None:
    bucket = Bucket()
    assert not bucket.fits(0, 1)
    assert bucket.wait(0, 1) is None
    assert bucket.reset(0) == 0
