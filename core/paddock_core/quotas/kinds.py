"""The kinds of limit, one row each: what it counts, how it refills, and over which span.

A kind's name is its field in `policy.documents.Limits`. Everything that borrows, counts or shows limits goes through
this table, so a new kind is a new row and a new field.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

REQUESTS, INPUT, OUTPUT, SLOTS, TOKENS, NANO = range(6)
"""Units: positions in `Costs`."""
Costs = tuple[int, int, int, int, int, int]
"""What one request takes of each unit: 1 request, its input, its output, 1 slot, all its tokens, its price."""

RATE, POOL, BUDGET = "rate", "pool", "budget"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of limit."""

    name: str
    unit: int
    shape: str
    """rate: refills evenly within a minute. pool: given back. budget: used up until its period ends."""
    span: str = ""
    """day or month (of UTC) for a budget."""


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(name="requests_per_minute", unit=REQUESTS, shape=RATE),
        Kind(name="input_tokens_per_minute", unit=INPUT, shape=RATE),
        Kind(name="output_tokens_per_minute", unit=OUTPUT, shape=RATE),
        Kind(name="concurrent_requests", unit=SLOTS, shape=POOL),
        Kind(name="tokens_per_day", unit=TOKENS, shape=BUDGET, span="day"),
        Kind(name="tokens_per_month", unit=TOKENS, shape=BUDGET, span="month"),
        Kind(name="money_per_month_nano", unit=NANO, shape=BUDGET, span="month"),
    )
}


def period_of(kind: Kind, at: float) -> str:
    """The period of a budget in which a moment (Unix seconds) lies, as 2026-11 or 2026-11-22; empty for others."""
    if not kind.span:
        return ""
    text = datetime.fromtimestamp(at, UTC).date().isoformat()
    return text if kind.span == "day" else text[:7]


def is_period(text: str) -> bool:
    """True if this is a month or a day as `period_of` writes them."""
    try:
        begin = datetime.fromtimestamp(bounds_of(text)[0], UTC).date().isoformat()
    except (ValueError, OverflowError):
        return False
    return text in (begin, begin[:7])


def bounds_of(period: str) -> tuple[float, float]:
    """Begin and end (exclusive) of a budget's period, Unix seconds.

    Raises:
        ValueError: it is no period.
    """
    whole_day = len(period) > len("2026-11")
    begin = datetime.fromisoformat(period if whole_day else f"{period}-01").replace(tzinfo=UTC)
    end = begin + timedelta(days=1) if whole_day else (begin + timedelta(days=32)).replace(day=1)
    return begin.timestamp(), end.timestamp()
