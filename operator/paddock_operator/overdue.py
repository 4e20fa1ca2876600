"""Deletions that do not come to their end: what a finalizer waits for has failed for long."""

from collections.abc import Iterable

from paddock_operator.ports import Manifest
from paddock_operator.times import parse_time

OVERDUE_SECONDS = 1200.0
"""Requests get up to the limit of a drain (960 s by default), then pods up to 90 seconds of grace."""


def overdue(objects: Iterable[Manifest], *, now: float) -> int:
    """How many of these were to be deleted longer ago than deletions take. `now` is Unix seconds."""
    begun = (item["metadata"].get("deletionTimestamp") for item in objects)
    return sum(1 for at in begun if at is not None and now - parse_time(str(at)) > OVERDUE_SECONDS)
