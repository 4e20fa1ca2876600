"""See how many requests and tokens were used."""

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

import typer

from paddock_cli.client import Client
from paddock_cli.errors import UsageError
from paddock_cli.output import Output, OutputOption, print_rows, show

app = typer.Typer(help=__doc__)
BAR_WIDTH = 30


class Group(StrEnum):
    """By what the figures are summed."""

    TENANT = "tenant"
    MODEL = "model"
    DEPLOYMENT = "deployment"
    KEY = "key"
    DAY = "day"
    HOUR = "hour"


@app.command()
def usage(
    group_by: Annotated[Group, typer.Option(help="By what to sum.")] = Group.TENANT,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant.")] = None,
    since: Annotated[str | None, typer.Option(help="From: 2026-11-22, 2026-11-22T10:00, or 24h, 7d ago.")] = None,
    until: Annotated[str | None, typer.Option(help="To, exclusive; as above.")] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """See how many requests and tokens were used."""
    now = datetime.now(UTC)
    report = Client().get(
        "/v1/usage",
        group_by=group_by.value,
        tenant=tenant,
        **{"from": _moment(since, now), "to": _moment(until, now)},
    )
    for row in report["rows"]:
        row[group_by.value] = row["group"]
    show(report, output=output, table=_table)


def _moment(text: str | None, now: datetime) -> float | None:
    """Unix seconds of a date, a time (UTC unless it says otherwise) or a span before now."""
    if text is None:
        return None
    units = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
    if text[-1:] in units and text[:-1].isdigit():
        return (now - int(text[:-1]) * units[text[-1]]).timestamp()
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"{text!r} is no time", advice="write 2026-11-22, 2026-11-22T10:00, 24h or 7d") from error
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _table(report: dict[str, Any]) -> None:
    names = ("requests", "input_tokens", "output_tokens", "total_tokens")
    most = max((row["total_tokens"] for row in report["rows"]), default=0)
    rows = [(row["group"], *(row[name] for name in names), _bar(row["total_tokens"], most)) for row in report["rows"]]
    rows.append(("total", *(report["total"][name] for name in names), ""))
    columns = ("REQUESTS", "INPUT", "OUTPUT", "TOKENS")
    print_rows(rows, report["group_by"].upper(), *columns, "", right=columns)


def _bar(value: int, most: int) -> str:
    return "█" * max(round(BAR_WIDTH * value / most), 1) if most and value else ""
