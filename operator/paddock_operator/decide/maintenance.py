"""Maintenance windows: when the platform may restart copies for its own sake. All times are UTC."""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass

from paddock_core.resources.llamadeployment import MaintenanceSpec

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A span of time, in Unix seconds. It holds its beginning, and not its end."""

    begins: float
    ends: float


def next_window(spec: MaintenanceSpec | None, *, now: float) -> Window | None:
    """The window that is open at `now`, else the next one. None: there is no specification, so there is none ever.

    A window belongs to the day on which it begins, and may reach into the next one.
    """
    if spec is None:
        return None
    return next((window for window in _windows(spec, now) if now < window.ends), None)


def is_open(spec: MaintenanceSpec | None, *, now: float) -> bool:
    """Whether `now` lies in a window."""
    window = next_window(spec, now=now)
    return window is not None and window.begins <= now


def _windows(spec: MaintenanceSpec, now: float) -> Iterator[Window]:
    """Those that begin from yesterday to this day next week, in their order."""
    today = dt.datetime.fromtimestamp(now, dt.UTC).date()
    start = dt.time.fromisoformat(spec.start).replace(tzinfo=dt.UTC)
    for offset in range(-1, 8):
        day = today + dt.timedelta(days=offset)
        if not spec.days or DAYS[day.weekday()] in spec.days:
            begins = dt.datetime.combine(day, start).timestamp()
            yield Window(begins=begins, ends=begins + spec.hours * 3600)
