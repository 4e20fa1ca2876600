"""When a new copy has had time enough, and the change with it has failed."""

from collections.abc import Collection

from paddock_operator.decide.rollout.settle import alive
from paddock_operator.decide.rollout.types import CopyLook, Look
from paddock_operator.times import format_time, parse_time

LATE_SECONDS = 60.0
"""A queue that gave no turn so long after devices were given up for it may give none at all."""
CLOCKS_DIFFER = 1.0
"""Times of the cluster are whole seconds, and not by our clock."""


def starved_since(look: Look, *, goal: str, former: str | None) -> float | None:
    """Since when a copy of the goal finds no devices and none are about to be free. None: there is no such copy.

    Until then the copy only waits for those that make room for it, for as long as their requests take. One that does
    not end makes none.
    """
    freed = any((copy.going and not copy.stuck) or copy.draining for copy in look.copies)
    if freed or not any(copy.starved for copy in _own(look, goal)):
        return None
    status = look.under_way(goal=goal, former=former)
    return parse_time(status.starved_since) if status is not None and status.starved_since else look.now


def failure(look: Look, *, goal: str, former: str | None, last: bool) -> str:
    """Why the goal's copies condemn it; empty while they do not. `last`: nothing but copies is waited for."""
    own = _own(look, goal)
    given_up = next((copy.name for copy in own if copy.failed), None)
    if given_up is not None:
        return f"copy {given_up} has been given up after too many failures"
    begun = _begun(look, goal=goal, former=former)
    if look.refused and look.now - begun > look.spec.deadline_seconds:
        return f"not all of its copies could be made within {look.spec.deadline_seconds} s: {look.refused}"
    starved = starved_since(look, goal=goal, former=former)
    short = _gave_way(look, goal=goal, former=former)
    others = last and any(copy.answering for copy in own)
    for copy in own:
        since = _since(copy, starved, begun, short=short)
        # A lack of devices says nothing about a revision of which others answer, and are to be all there is.
        excused = others and (copy.starved or copy.lacks) and not copy.queued
        if since is None or look.now - since <= look.spec.deadline_seconds or excused:
            continue
        why = f": {copy.lacks}" if copy.lacks else ""
        return f"copy {copy.name} has not answered within {look.spec.deadline_seconds} s{why}"
    return ""


def gives_way(look: Look, *, goal: str, former: str | None, drain: Collection[str]) -> bool:
    """Whether a copy of another revision goes, or went in this change, before enough others answer: `drain` is what
    the step takes away."""
    status = look.under_way(goal=goal, former=former)
    goes = any(copy.revision != goal and copy.name in drain for copy in alive(look))
    return (status is not None and status.gave_way) or (goes and is_short(look, goal=goal, drain=drain))


def is_short(look: Look, *, goal: str, drain: Collection[str]) -> bool:
    """True where fewer copies are left without those of `drain` than the specification promises, not counting those of
    the goal that do not answer."""
    there = [copy for copy in alive(look) if copy.name not in drain]
    left = sum(1 for copy in there if copy.revision != goal or copy.answering is not False)
    return left < look.wanted - look.spec.max_unavailable


def in_vain(look: Look, *, goal: str, former: str | None, back: bool) -> str:
    """Words on a copy that is still in a queue a while after others went for it, or that is to come `back`; else
    empty. Nobody makes room for it any more, and fewer serve than are promised."""
    since = starved_since(look, goal=goal, former=former)
    waits = next((copy for copy in _own(look, goal) if copy.queued and copy.answering is False), None)
    if since is None or waits is None or look.now - since < LATE_SECONDS:
        return ""
    draining = {copy.name for copy in look.copies if copy.draining}
    if back:
        return f"copy {waits.name} is to come back: {waits.lacks}" if is_short(look, goal=goal, drain=draining) else ""
    if not _gave_way(look, goal=goal, former=former):
        return ""
    until = format_time(max(since, _begun(look, goal=goal, former=former)) + look.spec.deadline_seconds)
    return f"a former copy went for copy {waits.name}, and {waits.lacks}. The change is given up at {until}"


def _gave_way(look: Look, *, goal: str, former: str | None) -> bool:
    """True while fewer copies are left than are promised, because former ones went for some that have not come."""
    status = look.under_way(goal=goal, former=former)
    draining = {copy.name for copy in look.copies if copy.draining}
    return status is not None and status.gave_way and is_short(look, goal=goal, drain=draining)


def seconds_left(look: Look, *, goal: str, former: str | None) -> float | None:
    """Until the next copy of the goal is overdue; None where none can be."""
    starved = starved_since(look, goal=goal, former=former)
    short = _gave_way(look, goal=goal, former=former)
    begun = _begun(look, goal=goal, former=former)
    own = _own(look, goal)
    found = [since for copy in own if (since := _since(copy, starved, begun, short=short)) is not None]
    if not found:
        return None
    return max(CLOCKS_DIFFER, min(found) + look.spec.deadline_seconds - look.now + CLOCKS_DIFFER)


def _own(look: Look, goal: str) -> list[CopyLook]:
    return [copy for copy in alive(look) if copy.revision == goal and not copy.draining]


def _begun(look: Look, *, goal: str, former: str | None) -> float:
    """Since when it is tried: copies that are there already, as when a stopped change is tried again, have their time
    from then on."""
    status = look.under_way(goal=goal, former=former)
    return parse_time(status.started_at) if status is not None and status.started_at else look.now


def _since(copy: CopyLook, starved: float | None, begun: float, *, short: bool) -> float | None:
    """From when its time counts; None while it does not run. A turn in a queue takes as long as it takes, unless a
    former copy is missing meanwhile."""
    if copy.answering is not False or (copy.starved and starved is None) or (copy.queued and not short):
        return None
    return max(begun, copy.born_at, copy.quiet_since or 0.0, (starved or 0.0) if copy.starved else 0.0)
