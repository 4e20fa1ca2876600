"""See how many requests and tokens were used, and what they cost."""

import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from paddock_cli.client import Client
from paddock_cli.errors import UsageError
from paddock_cli.focus_files import csv_text, write_parquet
from paddock_cli.moments import Since, Until, moment_of
from paddock_cli.output import print_json, print_rows, say
from paddock_cli.plot import plot

app = typer.Typer(help=__doc__)
BAR_WIDTH = 30
_COUNTS = ("requests", "input_tokens", "output_tokens", "total_tokens")
_EXACT = (*_COUNTS, "cache_read_tokens", "cache_write_tokens", "reasoning_tokens", "inexact_requests", "corrections")
_DAY = 86400.0
_LONGEST_HOURS = 3 * _DAY
_LONGEST_DAYS = 120 * _DAY
_MOST_CHARGED = 31 * _DAY


class Group(StrEnum):
    """By what the figures are summed."""

    TENANT = "tenant"
    PROJECT = "project"
    MODEL = "model"
    DEPLOYMENT = "deployment"
    KEY = "key"
    END_USER_GROUP = "end_user_group"
    MONTH = "month"
    DAY = "day"
    HOUR = "hour"


class Interval(StrEnum):
    """Steps of time."""

    HOUR = "hour"
    DAY = "day"
    MONTH = "month"


class Form(StrEnum):
    """For people or for programs."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"


@app.command()
def usage(
    *,
    group_by: Annotated[Group, typer.Option(help="By what to sum.")] = Group.TENANT,
    by: Annotated[Interval | None, typer.Option("--by", help="Sum by this step of time, too.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant.")] = None,
    since: Since = None,
    until: Until = None,
    output: Annotated[Form, typer.Option("-o", "--output", help="For people (table) or for programs.")] = Form.TABLE,
    focus: Annotated[bool, typer.Option("--focus", help="Charges in FOCUS 1.2 columns; parquet always is.")] = False,
    file: Annotated[Path | None, typer.Option(dir_okay=False, help="Write there, not to standard output.")] = None,
) -> None:
    """See how many requests and tokens were used, and what they cost."""
    now = datetime.now(UTC)
    start, end = moment_of(since, now), moment_of(until, now)
    if focus or output is Form.PARQUET:
        _charges(output, file, tenant=tenant, start=start, end=end or now.timestamp(), interval=by)
        return
    asked = {"tenant": tenant, "from": start, "to": end}
    report = _report(group_by=group_by, by=by, asked=asked, whole=output is not Form.TABLE)
    for row in report["rows"]:
        row[group_by.value] = row["group"]
    if output is Form.TABLE:
        _table(report)
        _plot(asked)
    elif output is Form.CSV:
        _write(csv_text(*_flat(report)), file)
    elif file is not None:
        raise UsageError("--file goes with csv and parquet", advice="send JSON where it belongs with >")
    else:
        print_json(report)


def _report(*, group_by: Group, by: Interval | None, asked: dict[str, Any], whole: bool) -> dict[str, Any]:
    """The sums by group; `whole` for all of them, however many answers that takes."""
    question = {**asked, "group_by": group_by.value, "interval": by.value if by else None}
    report: dict[str, Any] = Client().get("/v1/usage", **question)
    while whole and report["truncated"]:
        more = Client().get("/v1/usage", **question, skip=len(report["rows"]))
        report = {**more, "rows": [*report["rows"], *more["rows"]]}
    return report


def _charges(
    output: Form, file: Path | None, *, tenant: str | None, start: float | None, end: float, interval: Interval | None
) -> None:
    """FOCUS rows of the period, month by month so that each answer stays small."""
    if start is None:
        raise UsageError("which time?", advice="give --since: 30d, or the first of a month")
    if interval is Interval.MONTH:
        raise UsageError("charges are by hour or by day", advice="leave --by out")
    rows: list[dict[str, Any]] = []
    begin = start // _DAY * _DAY  # whole days, so that no day is in two answers
    while begin < end:
        stop = min(begin + _MOST_CHARGED, end)
        step = (interval or Interval.DAY).value
        asked = {"from": max(begin, start), "to": stop}
        rows += Client().get("/v1/usage/charges", tenant=tenant, interval=step, **asked)["rows"]
        begin += _MOST_CHARGED
    if output is Form.PARQUET:
        if file is None:
            raise UsageError("Parquet is no text", advice="give --file usage.parquet")
        write_parquet(rows, file)
        say(f"{len(rows)} charges in {file}")
    elif output is Form.CSV:
        _write(csv_text(rows), file)
    else:
        print_json(rows)


def _write(text: str, file: Path | None) -> None:
    if file is None:
        sys.stdout.write(text)
    else:
        file.write_text(text, encoding="utf-8")


def _flat(report: dict[str, Any]) -> tuple[list[dict[str, Any]], list[str]]:
    """The rows for CSV, with a column for each currency, and the columns."""
    currencies = [cost["currency"] for cost in report["total"]["costs"]]
    columns = [report["group_by"], "start", *_EXACT, "unpriced_requests", *(f"cost_{name}" for name in currencies)]
    rows = [{**row, **{f"cost_{name}": text for name, text in _costs(row).items()}} for row in report["rows"]]
    return rows, columns


def _costs(sums: dict[str, Any]) -> dict[str, str]:
    from paddock_core.usage.money import format_amount

    return {cost["currency"]: format_amount(cost["cost_nano"]) for cost in sums["costs"]}


def _table(report: dict[str, Any]) -> None:
    most = max((row["total_tokens"] for row in report["rows"]), default=0)
    timed = report["interval"] is not None
    rows = [
        (
            row["group"],
            *((row["start"],) if timed else ()),
            *(row[name] for name in _COUNTS),
            _cost_text(row),
            _bar(row["total_tokens"], most),
        )
        for row in report["rows"]
    ]
    rows.append(
        (
            "total",
            *(("",) if timed else ()),
            *(report["total"][name] for name in _COUNTS),
            _cost_text(report["total"]),
            "",
        )
    )
    columns = ("REQUESTS", "INPUT", "OUTPUT", "TOKENS", "COST")
    heads = (report["group_by"].upper().replace("_", " "), *(("FROM",) if timed else ()))
    print_rows(rows, *heads, *columns, "", right=columns)
    total = report["total"]
    if total["costs"] and total["unpriced_requests"]:
        say(f"{total['unpriced_requests']} requests had no price: their tokens are counted, their cost is not.")
    if report["truncated"]:
        say("There are more groups than are shown; the total is over all. Narrow it with --since, or -o csv.")


def _cost_text(sums: dict[str, Any]) -> str:
    return ", ".join(f"{text} {currency}" for currency, text in _costs(sums).items())


def _bar(value: int, most: int) -> str:
    return "█" * max(round(BAR_WIDTH * value / most), 1) if most > 0 and value > 0 else ""


def _plot(asked: dict[str, Any]) -> None:
    """Tokens over time, in steps that fit the period. Steps without usage are shown as such."""
    step, tokens = over_time(lambda step: Client().get("/v1/usage", group_by=step.value, **asked)["rows"])
    if len(tokens) < 2:
        return
    moments, at = [], min(tokens)
    while at <= max(tokens):
        moments.append(at)
        at = floor(at + (timedelta(days=31) if step is Interval.MONTH else timedelta(**{f"{step.value}s": 1})), step)
    form = {Interval.HOUR: "%m-%d %H:00", Interval.DAY: "%Y-%m-%d", Interval.MONTH: "%Y-%m"}[step]
    labels = [moment.strftime(form) for moment in moments]
    width = typer.get_terminal_size()[0] if sys.stdout.isatty() else 100
    sys.stdout.write(f"\nTokens by {step.value}\n")
    for line in plot([max(tokens.get(moment, 0), 0) for moment in moments], labels=labels, width=width):
        sys.stdout.write(line + "\n")


def over_time(ask: Callable[[Interval], list[dict[str, Any]]]) -> tuple[Interval, dict[datetime, int]]:
    """The finest step that fits what was used, and tokens by it.

    Coarse steps say whether a finer one fits, so no answer is too long, whatever period is asked about.
    """
    tokens: dict[datetime, int] = {}
    step = Interval.MONTH
    for step, longest in ((Interval.MONTH, _LONGEST_DAYS), (Interval.DAY, _LONGEST_HOURS), (Interval.HOUR, 0.0)):
        tokens = {datetime.fromisoformat(row["group"]): row["total_tokens"] for row in ask(step)}
        if not tokens or (max(tokens) - min(tokens)).total_seconds() > longest:
            break
    return step, tokens


def floor(at: datetime, step: Interval) -> datetime:
    """Where the step begins in which a moment lies."""
    at = at.replace(minute=0, second=0, microsecond=0)
    if step is Interval.HOUR:
        return at
    return at.replace(hour=0, day=1) if step is Interval.MONTH else at.replace(hour=0)
