"""When a new copy has had time enough, and the change with it has failed."""

from paddock_operator.decide.rollout.settle import alive
from paddock_operator.decide.rollout.types import CopyLook, Look
from paddock_operator.times import parse_time

CLOCKS_DIFFER = 1.0
"""Times of the cluster are whole seconds, and not by our clock."""


def starved_since(look: Look, *, goal: str, former: str | None) -> float | None:
    """Since when a copy of the goal finds no devices and none are about to be free. None: there is no such copy.

    Until then the copy only waits for those that make room for it, for as long as their requests take.
    """
    freed = any(copy.going or copy.draining for copy in look.copies)
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
    excused = last and any(copy.answering for copy in own)
    for copy in own:
        since = _since(copy, starved, begun)
        # A lack of devices says nothing about a revision of which others answer, and are to be all there is.
        if since is None or look.now - since <= look.spec.deadline_seconds or (copy.starved and excused):
            continue
        why = ": there are no devices for it" if copy.starved else ""
        return f"copy {copy.name} has not answered within {look.spec.deadline_seconds} s{why}"
    return ""


def seconds_left(look: Look, *, goal: str, former: str | None) -> float | None:
    """Until the next copy of the goal is overdue; None where none can be."""
    starved = starved_since(look, goal=goal, former=former)
    begun = _begun(look, goal=goal, former=former)
    found = [since for copy in _own(look, goal) if (since := _since(copy, starved, begun)) is not None]
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


def _since(copy: CopyLook, starved: float | None, begun: float) -> float | None:
    """From when its time counts; None while it does not run."""
    if copy.answering is not False or copy.queued or (copy.starved and starved is None):
        return None
    return max(begun, copy.born_at, copy.quiet_since or 0.0, (starved or 0.0) if copy.starved else 0.0)
