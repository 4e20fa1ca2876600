"""How many copies should run, by what is asked of them. Pure; all that it remembers is in `status.scaling`.

Up at once, down when fewer have been enough for the whole delay, to zero when nobody has asked for long enough, and
from zero at once when a request waits. What is not known takes no copy away.
"""

from dataclasses import dataclass

from msgspec.structs import replace
from paddock_core.resources.llamadeployment import ScalingSpec, ScalingStatus, Spec

from paddock_operator.decide.scaling_advice import (
    Advice,
    Answering,
    Demand,
    by_cache,
    by_latency,
    by_load,
    settles_in,
    target_of,
)
from paddock_operator.times import format_time, parse_time

SURGE_COPIES = 4
"""So many more than answer may always be asked for; else twice as many. Copies that still load brake the rest."""
SAVED_SECONDS = 600.0
"""How often what was saved is counted while nothing changes."""
CACHE_SECONDS = 15.0
"""How often the use of caches is looked at."""
JITTER_SECONDS = 2.0
"""Whole seconds of two clocks: what differs less is the same moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Everything that bears on the number of copies."""

    now: float
    """Unix seconds."""
    scaling: ScalingSpec | None
    replicas: int
    """`spec.replicas`: the number where `scaling` is unset, else the one to begin with."""
    before: ScalingStatus | None = None
    demand: Demand | None = None
    """None where no gateway told lately."""
    answering: tuple[Answering, ...] = ()
    max_concurrency: int
    """Sequences that the plan has room for in one copy."""
    gpus_per_copy: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Copies that should run, what to remember, and when to look again though nothing is heard."""

    desired: int
    status: ScalingStatus | None = None
    """None where the deployment is not scaled by load."""
    look_after_seconds: float | None = None


def judge(look: Look) -> Verdict:
    """The number of copies for this moment."""
    if look.scaling is None:
        return Verdict(desired=look.replicas)
    before = look.before or _start(look, look.scaling)
    status = _next(look, look.scaling, before)
    status = _with_savings(look, before, status)
    return Verdict(
        desired=status.desired_replicas, status=status, look_after_seconds=_look_after(look, look.scaling, status)
    )


def hold_seconds(spec: Spec) -> int:
    """How long a request may wait for the first copy: only where there may be none by intent."""
    return spec.scaling.hold_seconds if spec.scaling is not None and spec.scaling.min_replicas == 0 else 0


def _start(look: Look, scaling: ScalingSpec) -> ScalingStatus:
    now = format_time(look.now)
    copies = _bounded(look.replicas, scaling)
    return ScalingStatus(desired_replicas=copies, reason="to begin with", scaled_at=now, saved_until=now)


def _next(look: Look, scaling: ScalingSpec, before: ScalingStatus) -> ScalingStatus:
    """The same memory, or that of another number of copies."""
    bounded = _bounded(before.desired_replicas, scaling)
    if bounded != before.desired_replicas:
        reason = f"spec.scaling allows {scaling.min_replicas} to {scaling.max_replicas}"
        before = _moved(look, before, Advice(bounded, reason))
    if before.desired_replicas == 0:
        return _woken(look, scaling, before)
    before = replace(before, idle_since=_idle_since(look, scaling, before))
    if _idle_enough(look, scaling, before):
        return _moved(look, before, Advice(0, f"nobody has asked for {scaling.idle_seconds} s"))
    advice = _advised(look, scaling, before.desired_replicas)
    if advice.copies > before.desired_replicas:
        return _moved(look, before, advice)
    if look.demand is None or not look.demand.complete:
        # As after a restart: what was learned before stays, and nothing is concluded from it.
        return before
    if advice.copies == before.desired_replicas:
        return replace(before, below_since="", below_most=0)
    return _lowered(look, scaling, before, advice)


def _woken(look: Look, scaling: ScalingSpec, before: ScalingStatus) -> ScalingStatus:
    """From zero by the first request; what else is measured needs a copy."""
    if look.demand is None or look.demand.load == 0:
        return before
    asked = replace(before, idle_since="")
    return _moved(look, asked, _limited(look, scaling, _asked(look, scaling, 0), current=0))


def _lowered(look: Look, scaling: ScalingSpec, before: ScalingStatus, advice: Advice) -> ScalingStatus:
    """Fewer would do. They get their way once no more were wanted for the whole delay."""
    since, most = before.below_since or format_time(look.now), max(before.below_most, advice.copies)
    waited = look.now - parse_time(since)
    if waited >= scaling.scale_down_delay_seconds:
        reason = f"no more were needed for {scaling.scale_down_delay_seconds} s"
        return _moved(look, before, Advice(most, reason))
    return replace(before, below_since=since, below_most=most)


def _advised(look: Look, scaling: ScalingSpec, current: int) -> Advice:
    """The most that any measure asks for, within bounds."""
    asked = [_asked(look, scaling, current)]
    if scaling.kv_use_percent is not None:
        asked.append(by_cache(look.answering, percent=scaling.kv_use_percent, current=current))
    if scaling.time_to_first_token_ms is not None:
        limit = scaling.time_to_first_token_ms
        asked.append(by_latency(look.demand, look.answering, limit_ms=limit, now=look.now, current=current))
    return _limited(look, scaling, max(asked, key=lambda advice: advice.copies), current=current)


def _asked(look: Look, scaling: ScalingSpec, current: int) -> Advice:
    target = target_of(in_flight_per_replica=scaling.in_flight_per_replica, max_concurrency=look.max_concurrency)
    return by_load(look.demand, target=target, current=current)


def _limited(look: Look, scaling: ScalingSpec, advice: Advice, *, current: int) -> Advice:
    """Within the specification's bounds, and not more at once than the copies that answer justify."""
    ready = len(look.answering)
    most = min(scaling.max_replicas, max(current, 2 * ready, ready + SURGE_COPIES))
    least = max(scaling.min_replicas, 1)
    return Advice(max(least, min(advice.copies, most)), advice.reason)


def _idle_since(look: Look, scaling: ScalingSpec, before: ScalingStatus) -> str:
    """Since when nobody has asked. A request between two looks is known by its end; what is unknown changes nothing."""
    if scaling.min_replicas > 0:
        return ""
    if look.demand is not None and look.demand.load:
        return ""
    if look.demand is None or not look.demand.complete:
        return before.idle_since
    # The first sight begins the time: a gateway that is gone may have had requests that the others never saw.
    if not before.idle_since:
        return format_time(look.now)
    if look.demand.idle_seconds is None:
        return before.idle_since
    last = look.now - look.demand.idle_seconds
    return format_time(last) if last > parse_time(before.idle_since) + JITTER_SECONDS else before.idle_since


def _idle_enough(look: Look, scaling: ScalingSpec, before: ScalingStatus) -> bool:
    return _idle_left(look, scaling, before) == 0 and look.demand is not None and look.demand.complete


def _idle_left(look: Look, scaling: ScalingSpec, before: ScalingStatus) -> float | None:
    """Seconds until the last copy may go; None while somebody asks, or nothing serves yet: what was just started for
    somebody is not stopped before it could answer."""
    if not before.idle_since or not look.answering:
        return None
    since = max(parse_time(before.idle_since), min(copy.since for copy in look.answering))
    return max(0.0, since + scaling.idle_seconds - look.now)


def _moved(look: Look, before: ScalingStatus, advice: Advice) -> ScalingStatus:
    """Another number of copies. Whether fewer would do must be learned anew."""
    return replace(
        before,
        desired_replicas=advice.copies,
        reason=advice.reason,
        scaled_at=format_time(look.now),
        below_since="",
        below_most=0,
    )


def _bounded(copies: int, scaling: ScalingSpec) -> int:
    return max(scaling.min_replicas, min(copies, scaling.max_replicas))


def _with_savings(look: Look, before: ScalingStatus, status: ScalingStatus) -> ScalingStatus:
    """Counted at each change and now and then between: every count is a write of the status."""
    fewer = max(0, look.replicas - before.desired_replicas)
    since = before.saved_until or before.scaled_at or format_time(look.now)
    seconds = max(0.0, look.now - parse_time(since))
    changed = status.desired_replicas != before.desired_replicas
    if not changed and (seconds < SAVED_SECONDS or not fewer * look.gpus_per_copy):
        return status
    saved = before.saved_gpu_seconds + int(fewer * look.gpus_per_copy * int(seconds))
    return replace(status, saved_gpu_seconds=saved, saved_until=format_time(look.now))


def _look_after(look: Look, scaling: ScalingSpec, status: ScalingStatus) -> float | None:
    waits = [_idle_left(look, scaling, status)]
    if status.below_since:
        waits.append(parse_time(status.below_since) + scaling.scale_down_delay_seconds - look.now)
    if scaling.kv_use_percent is not None and look.answering:
        waits.append(CACHE_SECONDS)
    if scaling.time_to_first_token_ms is not None and (left := settles_in(look.answering, now=look.now)):
        waits.append(left)
    # Less than a second is not written: a look then would find the same.
    return min((max(wait, 1.0) for wait in waits if wait is not None), default=None)
