"""Deletions that do not come to their end: what a finalizer waits for has failed for long."""

from collections.abc import Iterable

from paddock_operator.ports import Manifest
from paddock_operator.times import parse_time

BEYOND_DRAIN_SECONDS = 240.0
"""What a deletion takes besides: gateways hear of it, pods have up to 90 seconds of grace, rounds look again."""


def overdue(objects: Iterable[Manifest], *, now: float, drain_limit_seconds: float) -> int:
    """How many of these were to be deleted longer ago than deletions take: requests get up to the limit of a drain.
    `now` is Unix seconds."""
    begun = (item["metadata"].get("deletionTimestamp") for item in objects)
    limit = drain_limit_seconds + BEYOND_DRAIN_SECONDS
    return sum(1 for at in begun if at is not None and now - parse_time(str(at)) > limit)
