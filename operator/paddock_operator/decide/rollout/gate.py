"""The health gate: does the new revision keep up with the former one?"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from paddock_core.resources.llamadeployment import BenchmarkStatus, HealthGate
from paddock_core.signals import TTFT_BOUNDS_MS, RevisionSignal, percentile_ms

from paddock_operator.decide.rollout.types import Health

TTFT_SLACK_MS = 50.0
"""A difference below this is noise: times to the first token are counted in buckets, and trials are short."""
BENCHMARK_SECONDS = 300.0
"""So long the outcome of a revision's trial is waited for; one that does not come is done without. By then one that
fails has failed as often as it is tried."""
FEW_ERRORS = 5
"""So many failures say something by themselves, where they are more than all other answers."""
MOST_PERCENT = 50.0
"""Of a few answers no fewer than these may fail."""


class Passed(Enum):
    """What the gate says."""

    YES = "yes"
    WAIT = "wait"
    NO = "no"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opinion:
    """Of the gate, with its reason in words where it is not yes."""

    passed: Passed
    why: str = ""


YES = Opinion(passed=Passed.YES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """Both revisions as they answered, and as they did when they were tried. None: nothing is known."""

    new: Health | None
    former: Health | None
    new_benchmark: BenchmarkStatus | None = None
    former_benchmark: BenchmarkStatus | None = None


def health_of(signals: Iterable[RevisionSignal]) -> Health:
    """One revision's signals of all gateways, put together."""
    found = list(signals)
    buckets = [0] * (len(TTFT_BOUNDS_MS) + 1)
    for signal in found:
        for place, count in enumerate(signal.ttft_ms[: len(buckets)]):
            buckets[place] += count
    milliseconds = sum(signal.output_ms for signal in found)
    tokens = sum(signal.output_tokens for signal in found)
    return Health(
        requests=sum(signal.requests for signal in found),
        errors=sum(signal.errors for signal in found),
        ttft_p95_ms=percentile_ms(buckets, percent=95),
        tokens_per_second=1000.0 * tokens / milliseconds if milliseconds else None,
    )


def errors(gate: HealthGate, sides: Sides) -> Opinion:
    """Whether too many answers fail. Judged by requests alone: once there are enough of them, or where most of a few
    fail."""
    new, former = sides.new, sides.former
    if new is None:
        return YES
    enough, allowed = gate.min_requests, float(gate.max_error_percent)
    if new.requests < enough:
        if new.errors < FEW_ERRORS:
            return YES
        enough, allowed = FEW_ERRORS, max(allowed, MOST_PERCENT)
    if former is not None and former.requests >= enough:
        allowed += 100.0 * former.errors / former.requests
    found = 100.0 * new.errors / new.requests
    if found <= allowed:
        return YES
    text = f"{found:.0f} % of {new.requests} answers failed, where {allowed:.0f} % are allowed"
    return Opinion(passed=Passed.NO, why=text)


def judge(gate: HealthGate, sides: Sides, *, waited: float, benchmarked: bool) -> Opinion:
    """Errors, time to the first token and speed, by requests where both revisions have had enough of them, and by
    their trials. `waited` is for how many seconds the new one could have been tried."""
    opinion = errors(gate, sides)
    if opinion.passed is not Passed.YES:
        return opinion
    new, former = sides.new, sides.former
    enough = [side for side in (new, former) if side is not None and side.requests >= gate.min_requests]
    if new is not None and former is not None and len(enough) == 2:
        opinion = _slower(
            gate, (new.ttft_p95_ms, former.ttft_p95_ms), (new.tokens_per_second, former.tokens_per_second), "requests"
        )
        if opinion.passed is not Passed.YES:
            return opinion
    tried, before = sides.new_benchmark, sides.former_benchmark
    if benchmarked and tried is None and waited < BENCHMARK_SECONDS:
        return Opinion(passed=Passed.WAIT, why="the outcome of its trial is awaited")
    if tried is None or before is None or before.failed:
        return YES
    if tried.failed:
        return Opinion(passed=Passed.NO, why=f"its trial failed, which the former revision passed: {tried.error}")
    if tried.concurrency != before.concurrency:
        return YES
    # A trial is a handful of requests: the slowest of them says more of the moment than of the revision.
    return _slower(
        gate, (tried.ttft_p50_ms, before.ttft_p50_ms), (tried.tokens_per_second, before.tokens_per_second), "its trial"
    )


def _slower(
    gate: HealthGate, ttft: tuple[float | None, float | None], speed: tuple[float | None, float | None], by: str
) -> Opinion:
    """Each pair is the new revision's figure and the former one's."""
    late, late_before = ttft
    if late is not None and late_before is not None:
        limit = late_before * (1 + gate.max_ttft_increase_percent / 100)
        if late > limit and late - late_before > TTFT_SLACK_MS:
            text = f"by {by}, the first token took {late:.0f} ms against {late_before:.0f} ms before"
            return Opinion(passed=Passed.NO, why=text)
    fast, fast_before = speed
    kept = 1 - gate.max_throughput_loss_percent / 100
    if fast is not None and fast_before is not None and fast < fast_before * kept:
        text = f"by {by}, it gave {fast:.0f} tokens a second against {fast_before:.0f} before"
        return Opinion(passed=Passed.NO, why=text)
    return YES
