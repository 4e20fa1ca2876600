"""Maintenance windows: when the platform may restart copies for its own sake. All times are UTC."""

import datetime as dt
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
from paddock_core.resources.llamadeployment import MaintenanceSpec

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


_TIME = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A span of time, in Unix seconds. It holds its beginning, and not its end."""

    begins: float
    ends: float


def read_maintenance(document: dict[str, Any]) -> MaintenanceSpec:
    """The platform's own window, held to what the schema demands of a deployment's. Raises ValueError."""
    unknown = set(document) - {"days", "start", "hours"}
    if unknown:
        raise ValueError(f"a maintenance window has days, start and hours, and no {', '.join(sorted(unknown))}")
    spec = msgspec.convert(document, MaintenanceSpec)
    if not set(spec.days) <= set(DAYS):
        raise ValueError(f"days of a maintenance window are among {', '.join(DAYS)}")
    if not _TIME.fullmatch(spec.start):
        raise ValueError("start of a maintenance window is a time of day (UTC), as 02:30")
    if not 1 <= spec.hours <= 24:
        raise ValueError("hours of a maintenance window are 1 to 24")
    return spec


def next_window(spec: MaintenanceSpec | None, *, now: float) -> Window | None:
    """The window that is open at `now`, else the next one. None: there is no specification, so there is none ever.

    A window belongs to the day on which it begins, and may reach into the next one.
    """
    if spec is None:
        return None
    return next((window for window in _windows(spec, now) if now < window.ends), None)


def _windows(spec: MaintenanceSpec, now: float) -> Iterator[Window]:
    """Those that begin from yesterday to this day next week, in their order."""
    today = dt.datetime.fromtimestamp(now, dt.UTC).date()
    start = dt.time.fromisoformat(spec.start).replace(tzinfo=dt.UTC)
    for offset in range(-1, 8):
        day = today + dt.timedelta(days=offset)
        if not spec.days or DAYS[day.weekday()] in spec.days:
            begins = dt.datetime.combine(day, start).timestamp()
            yield Window(begins=begins, ends=begins + spec.hours * 3600)
