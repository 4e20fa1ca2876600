"""License decisions that are kept: the same question, on the same facts, gets the same answer until that ends."""

from dataclasses import dataclass
from typing import cast

from paddock_core.catalog.loader import Catalog
from paddock_core.licensing.decide import decide
from paddock_core.licensing.types import Decision, Facts, Request

MOST_KEPT = 8192
"""So many answers are kept of one set of facts; then all are forgotten."""
_KEY = "decisions"
_Question = tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class _Answer:
    decision: Decision
    catalog: Catalog
    asked_at: float

    def holds(self, *, at: float, catalog: Catalog) -> bool:
        """Not for a moment before it was given, as where a clock was set back: an acceptance may begin later."""
        until = self.decision.valid_until
        return self.catalog is catalog and self.asked_at <= at and (until is None or at < until)


def kept_decision(*, request: Request, facts: Facts, catalog: Catalog) -> Decision:
    """What `decide` says, or has said of the same question as long as that holds (`Decision.valid_until`).

    Answers belong to their facts: where one fact is another, all of them are, and nothing is remembered.
    """
    answers = cast("dict[_Question, _Answer]", facts._derived.setdefault(_KEY, {}))  # noqa: SLF001 - made for what is derived
    question = (
        request.entity,
        request.role,
        request.verb,
        request.model,
        request.purpose,
        request.public_name,
        request.claimed_license,
        request.student,
    )
    known = answers.get(question)
    if known is None or not known.holds(at=request.at, catalog=catalog):
        if len(answers) >= MOST_KEPT:
            answers.clear()
        decision = decide(request=request, facts=facts, catalog=catalog)
        known = answers[question] = _Answer(decision, catalog, request.at)
    return known.decision
