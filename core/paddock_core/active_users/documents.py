"""What gateways send to the control plane: sketches of the end users of one tenant on one product on one day (UTC).

A product is a served deployment, `<namespace>/<name>`: what an application names as its model. Days are `YYYY-MM-DD` of
the moment at which a request was admitted, so that a row of the ledger and its user belong to the same day.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

MOST_SKETCHES = 80
"""In one batch: in JSON it stays below the 2 MiB that the control plane takes, however full the sketches are."""
_DAY_SECONDS = 86_400
PATH = "/internal/v1/active-users"


@dataclass(frozen=True, slots=True, kw_only=True)
class DaySketch:
    """Who used a product on a day, as one gateway saw it so far."""

    tenant: str
    product: str
    day: str
    sketch: bytes
    """As `paddock_core.active_users.sketch.encode` makes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SketchBatch:
    """At most MOST_SKETCHES of them."""

    sketches: list[DaySketch]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A sketch of the batch that was not taken, by its place; the others were."""

    index: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What became of a batch."""

    merged: int
    """Sketches that brought users who were not counted yet."""
    unchanged: int
    refused: list[Refused]


def day_of(unix_seconds: float) -> str:
    """The day in UTC."""
    return _day(int(unix_seconds // _DAY_SECONDS))


@lru_cache(maxsize=64)
def _day(number: int) -> str:
    """Written out once a day instead of once a request."""
    return datetime.fromtimestamp(number * _DAY_SECONDS, UTC).strftime("%Y-%m-%d")


def month_of(day: str) -> str:
    """`YYYY-MM` of a day."""
    return day[:7]
