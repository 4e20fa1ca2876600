"""Which copies are made, drained and deleted, once it is known how many of each kind there should be."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from paddock_operator.decide.rollout.types import CopyLook, Look, NewCopy


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """How many copies there should be."""

    new: int
    """Of the goal."""
    old: int = 0
    """Of all other revisions together, at most."""
    former: int = 0
    """Of the former revision: where all are fewer, copies of it are made anew."""
    limit: int
    """Of all, at most, draining ones too: as many devices are there for them."""
    floor: int
    """Of those that get requests and answer: no step goes below it by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What becomes of the copies."""

    create: tuple[NewCopy, ...]
    drain: frozenset[str]
    delete: tuple[str, ...]


def alive(look: Look) -> list[CopyLook]:
    """Copies that are not being deleted."""
    return [copy for copy in look.copies if not copy.going]


def serves(copy: CopyLook) -> bool:
    """True if requests can go to it now."""
    return copy.answering is True and not copy.draining and not copy.going


def settle(look: Look, aim: Aim, *, goal: str, former: str | None, weighted: Collection[str]) -> Settled:
    """The copies of the next moment. `weighted` names the revisions that get requests: only their copies count for the
    floor."""
    there = alive(look)
    new = sorted((copy for copy in there if copy.revision == goal), key=_worth)
    others = [copy for copy in there if copy.revision != goal]
    old = sorted(others, key=lambda copy: (copy.revision != former, _worth(copy)))
    kept = [copy for copy in new if not copy.draining or copy.answering is True][: aim.new]
    # A copy on its way out that answers is worth more than one that is still to be made: it is taken back.
    # Of revisions that are neither of the two, only what answers is worth its place.
    worthy = [copy for copy in old if copy.revision == former or copy.answering is not False]
    staying = [copy for copy in worthy if not copy.draining][: aim.old]
    if aim.former > len(staying):
        # Devices that come free are for what served last: all but one of those that only wait for some make way.
        kept = [copy for number, copy in enumerate(kept) if number == 0 or not copy.starved]
    drain = {copy.name for copy in there if copy.draining} - {copy.name for copy in kept}
    answering = sum(1 for copy in there if _counts(copy, weighted) and copy.name not in drain)
    back = [copy for copy in old if copy.draining and copy.answering is True and copy.revision == former]
    lacking = max(aim.floor - answering if former in weighted else 0, aim.former - len(staying), 0)
    for copy in back[:lacking]:
        drain.discard(copy.name)
        staying.append(copy)
        answering += 1 if former in weighted else 0
    stay = {copy.name for copy in (*kept, *staying)}
    for copy in reversed((*new, *old)):
        if copy.name in stay or copy.name in drain or copy.answering is None:
            continue
        if not _counts(copy, weighted):
            drain.add(copy.name)
        elif answering > aim.floor:
            drain.add(copy.name)
            answering -= 1
    return Settled(
        create=_made(look, aim, goal=goal, former=former, kept=len(kept), old=[c for c in old if c.name not in drain]),
        drain=frozenset(drain),
        delete=tuple(copy.name for copy in there if copy.name in drain and copy.draining and copy.drained),
    )


def _worth(copy: CopyLook) -> tuple[bool, int, bool, float]:
    """Lower is better: of those that answer the lowest index, of the others the oldest."""
    answering = {True: 0, None: 1, False: 2}[copy.answering]
    return (copy.draining, answering, copy.failed, copy.index if copy.answering else copy.born_at)


def _counts(copy: CopyLook, weighted: Collection[str]) -> bool:
    return copy.answering is True and copy.revision in weighted


def _made(
    look: Look, aim: Aim, *, goal: str, former: str | None, kept: int, old: Sequence[CopyLook]
) -> tuple[NewCopy, ...]:
    """Copies to make, and none beyond the limit: the goal's first one, what lacks of the former revision's, and then
    the others of the goal."""
    room = max(0, aim.limit - len(alive(look)))
    lacking = 0 if former is None or former == goal else max(0, aim.former - len(old))
    new = _free(look, goal, min(room, max(room - lacking, 0 if kept else 1), aim.new - kept))
    return new if former is None else (*new, *_free(look, former, min(room - len(new), lacking)))


def _free(look: Look, revision: str, count: int) -> tuple[NewCopy, ...]:
    """So many new copies, with the lowest indices that no copy bears, not even one that is being deleted."""
    taken = {copy.index for copy in look.copies if copy.revision == revision}
    free = [index for index in range(len(taken) + count) if index not in taken]
    return tuple(NewCopy(revision=revision, index=index) for index in free[:count])
