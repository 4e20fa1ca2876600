"""What a fault came to."""

from dataclasses import dataclass
from types import ModuleType
from typing import Protocol

from faults.section import cells


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The figures of one fault, in words, and whether they are those that were asked for."""

    measured: str
    passed: bool


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table."""

    name: str
    kind: ModuleType
    size: int
    outcome: Outcome
    seconds: float

    def line(self) -> str:
        """As Markdown."""
        what = self.kind.WHAT.format(size=f"{self.size:,}")
        told = (self.outcome.measured, _said(self.outcome))
        return cells(self.kind.ROW, f"`{self.name}`", what, self.kind.PASS, *told)


class Kind(Protocol):
    """What each file in `kinds/` has."""

    ROW: int
    """Number of the fault in the table that the project set itself."""
    WHAT: str
    """What is done, for the table; `{size}` stands for how much of it."""
    PASS: str
    """The figure that is asked for."""
    SHORT: int
    """How much of it `make test` plays, within seconds."""
    FULL: int
    """How much of it `make faults` plays."""


def _said(outcome: Outcome) -> str:
    return "yes" if outcome.passed else "**no**"
