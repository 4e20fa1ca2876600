"""What the planner of rollouts is shown: copies, revisions and what was heard of them, in its own terms."""

import msgspec
from paddock_core.resources.conditions import ConditionReason, ConditionType
from paddock_core.resources.llamadeployment import RolloutSpec, RolloutStatus, RoutingStatus, Status

from paddock_operator.decide import revisions
from paddock_operator.decide.copies import Copy, number_of
from paddock_operator.decide.patients import quiet_since
from paddock_operator.decide.quota import Judgement as Quota
from paddock_operator.decide.rollout.types import CopyLook, Look, State
from paddock_operator.decide.seen import Course, Seen
from paddock_operator.decide.verdicts import Verdict
from paddock_operator.observed import Observed
from paddock_operator.times import parse_time


def look_of(observed: Observed, course: Course, seen: Seen, *, wanted: int) -> Look:
    """Everything that its next step depends on."""
    status = observed.live.status
    current = next((item.name for item in status.revisions if item.state == State.CURRENT), None)
    known = current is not None and current in course.known and current not in seen.denied
    failed = revisions.failed(observed)
    # Of what was tried for the present wish, the newest: older ones are what nobody would render any more.
    tried = [name for name in failed if name in course.known and course.known[name].wish == course.wish]
    tried = sorted(tried, key=lambda name: (course.known[name].created_at, name))[-1:]
    return Look(
        now=observed.now,
        wanted=wanted,
        spec=_within(observed.live.spec.rollout, status.rollout, wanted, _spare(course.quota, wanted)),
        target=course.target.name,
        unmet=course.unmet,
        current=current if known else None,
        failed=failed,
        recalled=frozenset(tried),
        rollout=status.rollout,
        retried=revisions.retried(observed),
        told=_told(status.routing),
        copies=(*(_copy_look(copy, seen, now=observed.now) for copy in seen.copies), *_held_back(course, seen)),
        health=dict(observed.health),
        benchmarks=revisions.benchmarks(observed),
        refused=_refused(status),
        benchmarked=observed.benchmarked,
    )


def _told(routing: RoutingStatus | None) -> dict[str, int]:
    targets = () if routing is None else routing.targets
    return {target.revision: target.weight for target in targets if target.endpoints}


def _spare(quota: Quota, wanted: int) -> int | None:
    """Room for copies beside the wanted ones: what is spare, and what is granted for a load that is not there now."""
    if quota.spare is None or quota.copies is None:
        return quota.spare
    return quota.spare + max(0, quota.copies - wanted)


def _refused(status: Status) -> str:
    """Why Kubernetes refused copies, or what they need, in the last round, as that round wrote it down."""
    progressing = next((item for item in status.conditions if item.type == ConditionType.PROGRESSING), None)
    stuck = progressing is not None and progressing.reason == ConditionReason.APPLY_FAILED
    return progressing.message if progressing is not None and stuck else ""


def _within(spec: RolloutSpec, under_way: RolloutStatus | None, wanted: int, spare: int | None) -> RolloutSpec:
    """The strategy with no more copies beside the wanted ones than the quota has room for. A change that was begun
    copy by copy for want of room ends so, whatever room there is by then."""
    if spare is None:
        return spec
    lacks = spare < wanted or (under_way is not None and under_way.strategy == "RollingUpdate")
    strategy = "RollingUpdate" if spec.strategy == "BlueGreen" and lacks else spec.strategy
    return msgspec.structs.replace(spec, strategy=strategy, max_surge=min(spec.max_surge, spare))


def _copy_look(copy: Copy, seen: Seen, *, now: float) -> CopyLook:
    verdict = seen.verdicts.get(copy.name, Verdict(record=None))
    # One that is held back, or has failed, keeps its place while it is taken down: it is remembered by its name.
    stays = verdict.held or (verdict.record is not None and verdict.record.failures > 0)
    goes = verdict.moves or ((copy.going or verdict.down) and not stays)
    return CopyLook(
        name=copy.name,
        revision=copy.revision,
        index=copy.index,
        born_at=copy.born_at,
        answering=False if verdict.silent else copy.answering,
        quiet_since=None if copy.leader is None else quiet_since(copy.leader),
        lacks="" if copy.unplaced is None else copy.unplaced.message,
        starved=copy.starved,
        queued=copy.queued,
        failed=verdict.held and not (verdict.record and verdict.record.retry_at),
        draining=copy.draining,
        drained=seen.is_drained(copy.name),
        stuck=copy.stuck(now),
        going=goes or copy.revision in seen.denied,
    )


def _held_back(course: Course, seen: Seen) -> list[CopyLook]:
    """Copies that were taken down and may not come back yet: nobody makes them anew in the meantime."""
    there = {copy.name for copy in seen.copies}
    held = {name: verdict for name, verdict in seen.verdicts.items() if verdict.held and name not in there}
    return [
        CopyLook(
            name=name,
            revision=verdict.record.revision,
            index=number_of(name),
            # It is given time anew: how often it may fail is what its budget is for.
            born_at=parse_time(verdict.record.failed_at),
            failed=not verdict.record.retry_at,
        )
        for name, verdict in held.items()
        if verdict.record is not None and verdict.record.revision in course.known
    ]
