"""Maintenance windows: open when the specification says so, over midnight and over the week's end too."""

import datetime as dt
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paddock_core.resources.llamadeployment import MaintenanceSpec
from paddock_operator.decide.maintenance import DAYS, next_window, read_maintenance

HOUR = 3600.0


def moment(text: str) -> float:
    """Monday is 2026-11-23."""
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC).timestamp()


def is_open(spec: MaintenanceSpec | None, *, now: float) -> bool:
    window = next_window(spec, now=now)
    return window is not None and window.begins <= now


@pytest.mark.parametrize(
    ("at", "is_so"),
    [
        ("2026-11-23T01:59:59", False),
        ("2026-11-23T02:00:00", True),
        ("2026-11-23T05:59:59", True),
        ("2026-11-23T06:00:00", False),
        ("2026-11-29T02:00:00", True),
    ],
)
def test_every_day_without_days(at: str, is_so: bool) -> None:
    assert is_open(MaintenanceSpec(start="02:00", hours=4), now=moment(at)) is is_so


@pytest.mark.parametrize(
    ("at", "is_so"),
    [
        ("2026-11-29T22:59:00", False),
        ("2026-11-29T23:00:00", True),
        ("2026-11-30T03:59:00", True),
        ("2026-11-30T04:00:00", False),
        ("2026-11-30T23:30:00", False),
    ],
)
def test_sunday_night_reaches_into_monday(at: str, is_so: bool) -> None:
    spec = MaintenanceSpec(days=("Sun",), start="23:00", hours=5)
    assert is_open(spec, now=moment(at)) is is_so


def test_the_next_one_is_told() -> None:
    spec = MaintenanceSpec(days=("Wed",), start="01:30", hours=2)
    window = next_window(spec, now=moment("2026-11-25T03:30:00"))
    assert window is not None
    assert window.begins == moment("2026-12-02T01:30:00")
    assert window.ends == window.begins + 2 * HOUR


def test_without_a_specification_there_is_never_one() -> None:
    assert next_window(None, now=moment("2026-11-25T03:30:00")) is None
    assert not is_open(None, now=moment("2026-11-25T03:30:00"))


def test_the_platforms_window_is_read() -> None:
    assert read_maintenance({"days": ["Sat", "Sun"], "start": "22:30", "hours": 6}) == MaintenanceSpec(
        days=("Sat", "Sun"), start="22:30", hours=6
    )


@pytest.mark.parametrize("most", [{"days": list(DAYS)}, {"hours": 1}, {"hours": 24}, {"start": "23:59"}])
def test_what_the_schema_still_takes_is_read(most: dict[str, Any]) -> None:
    document = {"start": "22:30", "hours": 6, **most}
    assert read_maintenance(document) == msgspec.convert(document, MaintenanceSpec)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"day": ["Sat"]}, "and no day"),
        ({"days": ["Someday"]}, "among Mon, Tue"),
        ({"start": "24:00"}, "as 02:30"),
        ({"start": "2:30"}, "as 02:30"),
        ({"hours": 0}, "1 to 24"),
        ({"hours": 25}, "1 to 24"),
        ({"hours": "four"}, "Expected `int`"),
    ],
)
def test_a_window_that_makes_no_sense_is_refused(document: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_maintenance(document)


SPECS = st.builds(
    MaintenanceSpec,
    days=st.sets(st.sampled_from(DAYS)).map(tuple),
    start=st.builds("{:02}:{:02}".format, st.integers(0, 23), st.integers(0, 59)),
    hours=st.integers(1, 24),
)
MOMENTS = st.floats(1_700_000_000, 2_000_000_000)


@given(SPECS, MOMENTS)
def test_there_is_one_within_a_week_and_none_is_left_out(spec: MaintenanceSpec, now: float) -> None:
    window = next_window(spec, now=now)
    assert window is not None
    assert window.ends > now
    assert window.begins <= now + 7 * 24 * HOUR
    assert window.ends - window.begins == spec.hours * HOUR
    begun = dt.datetime.fromtimestamp(window.begins, dt.UTC)
    assert begun.strftime("%H:%M") == spec.start
    assert not spec.days or DAYS[begun.weekday()] in spec.days
    assert is_open(spec, now=now) is (window.begins <= now)


@given(SPECS, MOMENTS, st.floats(0, 1))
def test_what_lies_before_the_next_one_is_closed_and_what_lies_in_it_is_open(
    spec: MaintenanceSpec, now: float, share: float
) -> None:
    window = next_window(spec, now=now)
    assert window is not None
    between = now + share * (window.begins - now)
    assert is_open(spec, now=between) is (window.begins <= between)
    within = window.begins + share * (window.ends - window.begins - 1)
    assert is_open(spec, now=within)


@given(MOMENTS)
def test_a_whole_day_every_day_is_always(now: float) -> None:
    assert is_open(MaintenanceSpec(hours=24, start="07:00"), now=now)
