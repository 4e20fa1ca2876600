"""What commands print: tables for people, JSON for programs."""

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

import typer


class Output(StrEnum):
    """For people or for programs."""

    TABLE = "table"
    JSON = "json"


OutputOption = Annotated[Output, typer.Option("-o", "--output", help="For people (table) or for programs (json).")]


def show(data: Any, *, output: Output, table: Callable[[Any], None]) -> None:
    """Print `data` as JSON, or have `table` print it."""
    if output is Output.JSON:
        print_json(data)
    else:
        table(data)


def print_json(data: Any) -> None:
    """Indented JSON on standard output."""
    sys.stdout.write(json.dumps(data, indent=2, ensure_ascii=False, default=str) + "\n")


def print_rows(rows: Iterable[Sequence[Any]], *columns: str, right: Sequence[str] = ()) -> None:
    """A table without borders; columns named in `right` are aligned right."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        # Text, not str: an id in brackets must not be taken for markup.
        table.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
    Console(soft_wrap=not sys.stdout.isatty()).print(table)


def print_fields(fields: Mapping[str, Any]) -> None:
    """One thing: a line a field."""
    width = max((len(name) for name in fields), default=0)
    for name, value in fields.items():
        sys.stdout.write(f"{name:<{width}}  {'' if value is None else value}\n")


def show_erased(erased: Mapping[str, Sequence[str]]) -> None:
    """Whose personal data went."""
    print_fields({name: ", ".join(ids) or "none" for name, ids in erased.items()})


def say(text: str) -> None:
    """A line for a person, on standard error so that programs can read standard output."""
    sys.stderr.write(text + "\n")


def moment(seconds: float | None) -> str:
    """Unix seconds as UTC, to the second."""
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def limits_text(limits: Mapping[str, Any]) -> str:
    """Limits in one cell; those that are not set are left out."""
    return ", ".join(f"{name}={value}" for name, value in limits.items() if value is not None) or "none"
