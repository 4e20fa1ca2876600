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


def by_copies(look: Look, *, goal: str) -> Rule:
    """As many requests for each copy, whatever its revision; none for one that failed, where another answers."""

    def rule(found: Counter[str]) -> Weights:
        sound = {name: count for name, count in found.items() if name == goal or name not in look.failed}
        return _shares(sound or dict(found), 100)

    return rule


def first_of(*order: str | None) -> Rule:
    """All requests to the first of these of which a copy answers; else to whatever answers."""

    def rule(found: Counter[str]) -> Weights:
        name = next((name for name in order if name and found[name]), None)
        return {name: 100} if name else _shares(dict(found), 100)

    return rule


def stepped(*, goal: str, former: str | None, before: int, step: int, copies: int) -> Rule:
    """A canary's: `step` percent for the goal once so many `copies` of it answer. Until then as much as its copies can
    bear, but not less than the step `before`."""

    def rule(found: Counter[str]) -> Weights:
        own, rest = found[goal], {name: count for name, count in found.items() if name != goal}
        if not own or not rest:
            return _shares(dict(found), 100)
        bearable = 100 * own // found.total()
        share = step if own >= copies else max(before, min(step, bearable))
        others = {former: rest[former]} if former in rest else rest
        return {name: weight for name, weight in {goal: share, **_shares(others, 100 - share)}.items() if weight}

    return rule


def _shares(counts: dict[str, int], percent: int) -> Weights:
    """`percent` cut in proportion to the counts; what rounding leaves goes to the largest fractions."""
    counts = {name: count for name, count in counts.items() if count}
    total = sum(counts.values())
    exact = {name: percent * count / total for name, count in counts.items()}
    found = {name: int(share) for name, share in exact.items()}
    for name in sorted(exact, key=lambda name: (found[name] - exact[name], name))[: percent - sum(found.values())]:
        found[name] += 1
    return found
