"""Lifetimes of pods: splitting at midnights, adding up, reports in any order."""

from datetime import date
from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paddock_core.usage.pod_time import DAY_MS, KEYS, Sighting, Spent, days, merged, spent

MOMENTS = st.integers(0, 60 * DAY_MS)


@st.composite
def sightings(draw: st.DrawFn, uid: str | None = None) -> Sighting:
    start, end = sorted((draw(MOMENTS), draw(MOMENTS)))
    return Sighting(
        uid=uid or draw(st.uuids()).hex,
        tenant=draw(st.sampled_from(["acme", "globex"])),
        deployment=draw(st.sampled_from(["a/one", "a/two", "b/one"])),
        gpus=draw(st.integers(0, 16)),
        cpu_millis=draw(st.integers(0, 64_000)),
        started_ms=start,
        seen_ms=end,
    )


@given(start=MOMENTS, end=MOMENTS)
def test_days_add_up_to_the_span_and_hold_no_more_than_a_day(start: int, end: int) -> None:
    parts = list(days(start, end))
    assert sum(length for _, length in parts) == max(0, end - start)
    assert all(0 < length <= DAY_MS for _, length in parts)
    assert [day for day, _ in parts] == sorted({day for day, _ in parts})


@given(start=MOMENTS, end=MOMENTS, cut=MOMENTS)
def test_a_span_cut_in_two_counts_the_same(start: int, end: int, cut: int) -> None:
    start, cut, end = sorted((start, cut, end))
    whole: dict[date, int] = dict(days(start, end))
    parts: dict[date, int] = {}
    for day, length in (*days(start, cut), *days(cut, end)):
        parts[day] = parts.get(day, 0) + length
    assert parts == whole


@given(pods=st.lists(sightings(), max_size=12), start=MOMENTS, end=MOMENTS)
def test_groups_add_up_whatever_they_are_by(pods: list[Sighting], start: int, end: int) -> None:
    every = spent(pods, start_ms=start, end_ms=end)
    for by in ((), ("tenant",), ("deployment",), ("day",), ("tenant", "day")):
        coarse = spent(pods, start_ms=start, end_ms=end, by=by)
        for name in ("pod_ms", "gpu_ms", "cpu_milli_ms"):
            assert sum(getattr(item, name) for item in coarse.values()) == sum(
                getattr(item, name) for item in every.values()
            )
    lived = sum(max(0, min(pod.seen_ms, end) - max(pod.started_ms, start)) for pod in pods)
    assert sum(item.pod_ms for item in every.values()) == lived


@given(pods=st.lists(sightings(), max_size=12), start=MOMENTS, cut=MOMENTS, end=MOMENTS)
def test_windows_that_follow_each_other_count_everything_once(
    pods: list[Sighting], start: int, cut: int, end: int
) -> None:
    start, cut, end = sorted((start, cut, end))

    def gpu(begin: int, until: int) -> int:
        return sum(item.gpu_ms for item in spent(pods, start_ms=begin, end_ms=until).values())

    assert gpu(start, cut) + gpu(cut, end) == gpu(start, end)


@given(reports=st.lists(sightings(uid="pod"), min_size=1, max_size=6), data=st.data())
def test_reports_of_a_pod_count_the_same_in_any_order_and_however_often(
    reports: list[Sighting], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(reports + reports))
    one, other = reduce(merged, reports), reduce(merged, shuffled)
    assert (one.started_ms, one.seen_ms) == (other.started_ms, other.seen_ms)
    assert one.started_ms == min(item.started_ms for item in reports)
    assert one.seen_ms == max(item.seen_ms for item in reports)


def test_two_gpus_over_midnight() -> None:
    pod = Sighting(
        uid="u",
        tenant="acme",
        deployment="a/one",
        gpus=2,
        cpu_millis=500,
        started_ms=DAY_MS - 1000,
        seen_ms=DAY_MS + 3000,
    )
    assert spent([pod], start_ms=0, end_ms=10 * DAY_MS, by=KEYS) == {
        ("acme", "a/one", "1970-01-01"): Spent(pods=1, pod_ms=1000, gpu_ms=2000, cpu_milli_ms=500_000),
        ("acme", "a/one", "1970-01-02"): Spent(pods=1, pod_ms=3000, gpu_ms=6000, cpu_milli_ms=1_500_000),
    }
    assert spent([pod], start_ms=0, end_ms=10 * DAY_MS, by=("tenant",))["acme",].pods == 1
    assert spent([pod], start_ms=2 * DAY_MS, end_ms=3 * DAY_MS) == {}


@pytest.mark.parametrize("moment", [0, DAY_MS, DAY_MS - 1])
def test_an_empty_span_has_no_days(moment: int) -> None:
    assert list(days(moment, moment)) == []
