"""How many copies each measure asks for, as the HorizontalPodAutoscaler computes it: the wanted number follows the
ratio of what is measured to what is allowed, and what lies within a tolerance asks for no change.

https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#algorithm-details
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from paddock_core.signals import WINDOW_SECONDS, percentile_ms

TOLERANCE = 0.1
"""So far a measure may be off before anything changes."""
PLANNED_SHARE = 0.8
"""Of the sequences that the plan has room for: so many requests a copy should have where nothing else is said."""
LATENCY_ANSWERS = 10
"""Fewer answers within the window say nothing of the time to the first token."""
LATENCY_RATIO = 2.0
"""Times grow without bound where requests wait: more than so much at once they cannot ask for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What is asked of a deployment, by all gateways together."""

    in_flight: int
    held: int
    idle_seconds: int | None = None
    """Since the last request ended; None where no gateway remembers one."""
    ttft_ms: tuple[int, ...] = ()
    """Answers of the last WINDOW_SECONDS in the buckets of TTFT_BOUNDS_MS, all revisions together."""
    complete: bool = True
    """False where a gateway is silent that told something lately: more may be asked than is known."""

    @property
    def load(self) -> int:
        return self.in_flight + self.held


@dataclass(frozen=True, slots=True, kw_only=True)
class Answering:
    """A copy that answers."""

    since: float
    """When it became ready."""
    kv_use: float | None = None
    """Used part of its key-value cache, 0 to 1; None where it was not read."""


@dataclass(frozen=True, slots=True)
class Advice:
    """Copies, and why so many."""

    copies: int
    reason: str


def target_of(*, in_flight_per_replica: int | None, max_concurrency: int) -> int:
    """Requests that one copy should have at once."""
    return in_flight_per_replica or max(1, math.floor(max_concurrency * PLANNED_SHARE))


def by_load(demand: Demand | None, *, target: int, current: int) -> Advice:
    """By the requests that are asked now. Unknown demand asks for what there is."""
    if demand is None:
        return Advice(current, "no gateway tells what is asked")
    reason = f"{demand.in_flight} requests in flight and {demand.held} held, {target} for a copy"
    if current and _tolerable(demand.load / (current * target)):
        return Advice(current, reason)
    return Advice(math.ceil(demand.load / target), reason)


def by_cache(copies: Sequence[Answering], *, percent: int, current: int) -> Advice:
    """By the use of the key-value caches. A copy whose use is unknown counts as empty where more would be asked for,
    and as full as allowed where fewer would be: so it moves nothing by itself."""
    allowed = percent / 100
    known = [copy.kv_use for copy in copies if copy.kv_use is not None]
    if not known:
        return Advice(current, "the use of the key-value cache is not known")
    unknown = len(copies) - len(known)
    above = sum(known) / len(known) > allowed
    used = sum(known) + (0.0 if above else unknown * allowed)
    ratio = used / len(copies) / allowed
    reason = f"{round(100 * used / len(copies))} percent of the key-value cache is used, {percent} are allowed"
    if _tolerable(ratio) or above != (ratio > 1):
        return Advice(current, reason)
    return Advice(math.ceil(len(copies) * ratio), reason)


def by_latency(
    demand: Demand | None, copies: Sequence[Answering], *, limit_ms: int, now: float, current: int
) -> Advice:
    """By the time to the first token. After a copy came, what was measured without it must leave the window first."""
    if demand is None or settles_in(copies, now=now) > 0:
        return Advice(current, "the time to the first token is not known")
    p95 = percentile_ms(demand.ttft_ms, percent=95)
    if p95 is None or sum(demand.ttft_ms) < LATENCY_ANSWERS or not copies:
        return Advice(0, "too few answers to judge the time to the first token")
    reason = f"the time to the first token is {p95:.0f} ms at the 95th percentile, {limit_ms} are allowed"
    ratio = min(p95 / limit_ms, LATENCY_RATIO)
    return Advice(current if _tolerable(ratio) else math.ceil(len(copies) * ratio), reason)


def settles_in(copies: Sequence[Answering], *, now: float) -> float:
    """Seconds until the window of answers holds only those that all present copies shared."""
    newest = max((copy.since for copy in copies), default=now - WINDOW_SECONDS)
    return max(0.0, newest + WINDOW_SECONDS - now)


def _tolerable(ratio: float) -> bool:
    # Sums of floats: exactly ten percent must be within.
    return abs(ratio - 1) <= TOLERANCE + 1e-9
