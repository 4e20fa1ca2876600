"""What is known of an entity from its tenants, and when it comes near a threshold."""

from hypothesis import given
from hypothesis import strategies as st
from paddock_core.active_users.documents import day_of, month_of
from paddock_core.active_users.sketch import Estimate
from paddock_core.active_users.thresholds import PERCENTS, Span, Threshold, reached, span_of, threshold_of
from paddock_core.catalog.packaged import packaged_catalog


def about(users: int) -> Estimate:
    return Estimate(users=users, low=users * 98 // 100, high=users * 102 // 100 + 1)


@given(st.lists(st.integers(0, 10**10), max_size=8))
def test_an_entity_lies_between_its_largest_tenant_and_their_sum(tenants: list[int]) -> None:
    span = span_of(about(users) for users in tenants)
    assert span.low <= max(tenants, default=0)
    assert span.high >= sum(tenants)
    assert 0 <= span.low <= span.high


def test_one_tenant_is_its_entity() -> None:
    assert span_of([about(1000)]) == Span(low=980, high=1021)
    assert span_of([]) == Span(low=0, high=0)


def test_a_share_is_reached_by_the_highest_possible_figure() -> None:
    threshold = Threshold(license="x", value=1000)
    assert reached(Span(low=0, high=499), threshold) == ()
    assert reached(Span(low=0, high=500), threshold) == (50,)
    assert reached(Span(low=0, high=749), threshold) == (50,)
    assert reached(Span(low=0, high=750), threshold) == (50, 75)
    assert reached(Span(low=0, high=900), threshold) == (50, 75, 90)
    assert reached(Span(low=2000, high=3000), threshold) == PERCENTS


@given(st.integers(0, 10**12), st.integers(0, 10**12))
def test_more_users_never_reach_less(one: int, more: int) -> None:
    threshold = Threshold(license="x", value=700_000)
    assert set(reached(Span(low=0, high=one), threshold)) <= set(reached(Span(low=0, high=one + more), threshold))


def test_thresholds_are_the_catalogues_own() -> None:
    found = {entry.id: threshold_of(entry) for entry in packaged_catalog().licenses.values()}
    asked = {
        entry.id
        for entry in packaged_catalog().licenses.values()
        if any(clause.type == "scale_threshold" for clause in entry.clauses)
    }
    assert {name for name, threshold in found.items() if threshold is not None} == asked
    assert len(asked) >= 6
    for name in asked:
        clause = next(c for c in packaged_catalog().licenses[name].clauses if c.type == "scale_threshold")
        assert found[name] == Threshold(license=name, value=clause.params["value"])


def test_a_day_is_a_day_in_utc() -> None:
    assert day_of(1_795_305_599.9) == "2026-11-21"
    assert day_of(1_795_305_600.0) == "2026-11-22"
    assert month_of("2026-11-22") == "2026-11"
