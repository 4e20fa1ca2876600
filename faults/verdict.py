"""The ledger against what the clients received: what is lost, what is doubled, what is billed wrongly."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from faults.client import TOKENS, Received

CHECKPOINT_TOKENS = 32
"""How far a row settled from a checkpoint may lie below what was sent (docs/metering.md)."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Counts of requests."""

    answers: int
    """Answers that began, as the clients saw it."""
    cut: int
    """Of those, the ones that never ended."""
    rows: int
    lost: int
    """Answers without a row, and rows that the roll-ups do not hold."""
    doubled: int
    """Answers with more than one row, and rows that the roll-ups hold more than once."""
    wrong: int
    """Rows that say something else than the client was told or could have received."""
    inexact: int
    """Rows that are not backed by the engine's own final count."""
    note: str = ""
    """What else was measured."""

    @property
    def clean(self) -> bool:
        return (self.lost, self.doubled, self.wrong) == (0, 0, 0)


def judge(
    *, answers: Iterable[Received], rows: list[dict[str, Any]], rolled_up: int, tokens: int = TOKENS, note: str = ""
) -> Verdict:
    """Compare. `rolled_up` is how many requests the roll-ups grew by; `tokens` the most that one answer may have."""
    seen = list(answers)
    counted = Counter(row["usage_id"] for row in rows)
    by_id = {row["usage_id"]: row for row in rows}
    missing = sum(1 for answer in seen if answer.id not in by_id)
    return Verdict(
        answers=len(seen),
        cut=sum(1 for answer in seen if not answer.complete),
        rows=len(rows),
        lost=missing + max(0, len(by_id) - rolled_up),
        doubled=sum(count - 1 for count in counted.values()) + max(0, rolled_up - len(by_id)),
        wrong=sum(1 for answer in seen if answer.id in by_id and not agrees(answer, by_id[answer.id], tokens=tokens)),
        inexact=sum(1 for row in rows if row["usage_source"] != "exact"),
        note=note,
    )


def agrees(answer: Received, row: dict[str, Any], *, tokens: int) -> bool:
    """Whether a row can be what this client received."""
    if answer.complete:
        return (row["input_tokens"], row["output_tokens"]) == answer.usage
    least = answer.pieces
    if row["usage_source"] == "bounded":
        least -= CHECKPOINT_TOKENS
    return bool(least <= row["output_tokens"] <= tokens and row["stream"] == answer.stream)
