"""Which share of the requests each revision gets."""

from collections import Counter
from collections.abc import Callable, Collection

from paddock_operator.decide.rollout.settle import alive
from paddock_operator.decide.rollout.types import Look

Weights = dict[str, int]
Rule = Callable[[Counter[str]], Weights]
"""From serving copies by revision to percent by revision."""


def serving(look: Look, *, drain: Collection[str]) -> Counter[str]:
    """Copies by revision that answer and will get requests."""
    return Counter(copy.revision for copy in alive(look) if copy.answering is True and copy.name not in drain)


def by_copies(look: Look, *, goal: str, floor: int) -> Rule:
    """As many requests for each copy, whatever its revision. One that failed gets none where so many others answer as
    the `floor` asks for, or where its answers fail more often than the others lack copies to bear all."""

    def rule(found: Counter[str]) -> Weights:
        sound = {name: count for name, count in found.items() if name == goal or name not in look.failed}
        number = sum(sound.values())
        lacking = 100.0 * (1 - number / look.wanted) if number < floor else 0.0
        helping = {name: count for name, count in found.items() if _fails(look, name) < lacking}
        return _shares({**sound, **helping} or dict(found), 100)

    return rule


def first_of(look: Look, *order: str | None, floor: int) -> Rule:
    """All requests to the first of these of which as many copies as the `floor` answer, or one less where it has all
    already; until there is one, to what has them now."""

    def rule(found: Counter[str]) -> Weights:
        names = [name for name in order if name and found[name]]
        enough = next((name for name in names if found[name] >= floor - (look.told.get(name) == 100)), None)
        if enough is not None:
            return {enough: 100}
        having = {name: count for name, count in found.items() if name in look.told}
        return _shares(having or {name: found[name] for name in names[:1]} or dict(found), 100)

    return rule


def returning(look: Look, *, goal: str, floor: int) -> Rule:
    """All requests to the goal as soon as enough copies of it answer. Until then by copies, where the goal keeps what
    it has as long as its copies would bear that with one of the wanted ones missing."""
    shared = by_copies(look, goal=goal, floor=floor)

    def rule(found: Counter[str]) -> Weights:
        if found[goal] and found[goal] >= floor:
            return {goal: 100}
        weights = shared(found)
        kept = min(look.told.get(goal, 0), 100 * found[goal] // max(1, look.wanted - 1))
        if goal not in weights or kept <= weights[goal]:
            return weights
        rest = {name: found[name] for name in weights if name != goal}
        return {goal: kept, **_shares(rest, 100 - kept)} if kept < 100 else {goal: 100}

    return rule


def stepped(look: Look, *, goal: str, before: int, step: int, copies: int) -> Rule:
    """A canary's: `step` percent for the goal once so many `copies` of it answer. Until then as much as its copies can
    bear, but not less than it has of the step `before`. Where others lack copies for the rest, it keeps what it has."""

    def rule(found: Counter[str]) -> Weights:
        own = found[goal]
        rest = {name: count for name, count in found.items() if name != goal and name not in look.failed}
        rest = rest or {name: count for name, count in found.items() if name != goal}
        if not own or not rest:
            return _shares(dict(found), 100)
        bearable, has = 100 * own // (own + sum(rest.values())), look.told.get(goal, 0)
        share = step if own >= copies else max(min(before, has), min(step, bearable))
        if sum(rest.values()) < look.wanted - copies:
            share = max(share, min(bearable, has))
        return {name: weight for name, weight in {goal: share, **_shares(rest, 100 - share)}.items() if weight}

    return rule


def _fails(look: Look, name: str) -> float:
    """Percent of its answers that failed lately."""
    health = look.health.get(name)
    return 100.0 * health.errors / health.requests if health is not None and health.requests else 0.0


def _shares(counts: dict[str, int], percent: int) -> Weights:
    """`percent` cut in proportion to the counts; what rounding leaves goes to the largest fractions."""
    counts = {name: count for name, count in counts.items() if count}
    total = sum(counts.values())
    exact = {name: percent * count / total for name, count in counts.items()}
    found = {name: int(share) for name, share in exact.items()}
    for name in sorted(exact, key=lambda name: (found[name] - exact[name], name))[: percent - sum(found.values())]:
        found[name] += 1
    return found
