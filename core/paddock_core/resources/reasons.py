"""What every condition type and reason means and what to do: one table for people, and for the ends of messages."""

from functools import cache
from importlib import resources

import msgspec
import yaml


class TypeRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A condition type."""

    of: str
    """`LlamaDeployment`, `LlamaModel` or `both`."""
    means: str


class ReasonRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A reason."""

    on: tuple[str, ...]
    """Condition types that show it of themselves."""
    means: str
    do: str


class EventRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An Event that is no condition's."""

    means: str
    do: str


class ReasonTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of them, in the order in which a deployment comes up."""

    types: dict[str, TypeRow]
    reasons: dict[str, ReasonRow]
    events: dict[str, EventRow]

    def markdown(self) -> str:
        """Three tables for the documentation."""
        types = [f"| `{name}` | {row.of} | {row.means} |" for name, row in self.types.items()]
        reasons = [f"| `{name}` | {', '.join(row.on)} | {row.means} | {row.do} |" for name, row in self.reasons.items()]
        head = ["| condition | of | means |", "|---|---|---|"]
        events = [f"| `{name}` | {row.means} | {row.do} |" for name, row in self.events.items()]
        lines = [*head, *types, "", "| reason | on | means | what to do |", "|---|---|---|---|", *reasons]
        lines += ["", "| other event | means | what to do |", "|---|---|---|", *events]
        return "\n".join(lines) + "\n"


@cache
def packaged_reasons() -> ReasonTable:
    """The table that ships with Paddock."""
    # The loader's base reads every word as text: `on` and the like would otherwise be truth values.
    document = yaml.load((resources.files(__package__) / "reasons.yaml").read_bytes(), Loader=yaml.BaseLoader)  # noqa: S506
    return msgspec.convert(document, ReasonTable)


def advice(reason: str) -> str:
    """What to do about a reason. Raises KeyError for one that is not in the table."""
    return packaged_reasons().reasons[reason].do


def of_event(reason: str) -> EventRow:
    """The row of an Event that is no condition's. Raises KeyError for one that is not in the table."""
    return packaged_reasons().events[reason]
