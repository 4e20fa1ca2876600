"""Check, correct and follow the ledger of usage."""

import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from paddock_cli.client import Client
from paddock_cli.errors import CliError, UsageError
from paddock_cli.moments import Until, moment_of
from paddock_cli.output import Output, OutputOption, print_fields, show

app = typer.Typer(help=__doc__, no_args_is_help=True)
PAGE = 1000
_WAIT_SECONDS = 2.0

Since = Annotated[str, typer.Option(help="From: 2026-11-22, 2026-11-22T10:00, or 24h, 7d ago.")]
Tokens = Annotated[int | None, typer.Option(min=0, help="What it should have been.")]


@app.command()
def check(since: Since = "2d", until: Until = None, output: OutputOption = Output.TABLE) -> None:
    """Compare the sums by hour with the rows. Exit code 1 if they differ."""
    start, end = _span(since, until)
    found = Client().get("/v1/usage/drift", **{"from": start, "to": end})
    show(found, output=output, table=print_fields)
    if found["hours"]:
        raise CliError(
            f"{found['hours']} sums are not what the rows give", advice="`paddock ledger rebuild` makes them anew"
        )


@app.command()
def rebuild(since: Since = "2d", until: Until = None, output: OutputOption = Output.TABLE) -> None:
    """Make the sums by hour anew from the rows, and tell how far they were off."""
    start, end = _span(since, until)
    show(Client().post("/v1/usage/rebuild", {"from": start, "to": end}), output=output, table=print_fields)


@app.command()
def correct(
    usage_id: Annotated[str, typer.Argument(help="The row that is wrong.")],
    reason: Annotated[str, typer.Option(help="Why; it is kept with the correction.")],
    input_tokens: Tokens = None,
    cache_read_tokens: Tokens = None,
    cache_write_tokens: Tokens = None,
    output_tokens: Tokens = None,
    reasoning_tokens: Tokens = None,
    price: Annotated[str | None, typer.Option(help="Entry of the price book by which to charge it.")] = None,
    cost: Annotated[str | None, typer.Option(help="What it should cost in the end, such as 0.")] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Correct a row by another row, which counts today. The row itself is never changed."""
    from paddock_core.usage.money import AmountError, parse_amount

    try:
        cost_nano = None if cost is None else parse_amount(cost)
    except AmountError as error:
        raise UsageError(str(error)) from error
    body = {
        "usage_id": usage_id,
        "reason": reason,
        "input_tokens": input_tokens,
        "cache_read_tokens": cache_read_tokens,
        "cache_write_tokens": cache_write_tokens,
        "output_tokens": output_tokens,
        "reasoning_tokens": reasoning_tokens,
        "price_id": price,
        "cost_nano": cost_nano,
    }
    show(Client().post("/v1/usage/corrections", body), output=output, table=_correction)


@app.command()
def events(
    *,
    cursor: Annotated[str | None, typer.Option(help="Begin after the event with this cursor.")] = None,
    cursor_file: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Begin where this file says, and keep the last cursor in it.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Wait for more, until interrupted.")] = False,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's.")] = None,
) -> None:
    """Print rows as CloudEvents, one a line, in the order of their arrival; for OpenMeter, Lago and the like."""
    if cursor_file is not None and cursor is None and cursor_file.exists():
        cursor = cursor_file.read_text(encoding="utf-8").strip()
    client = Client()
    while True:
        lines = client.lines("/v1/usage/events", tenant=tenant, cursor=cursor, limit=PAGE)
        if lines:
            sys.stdout.write("\n".join(lines) + "\n")
            sys.stdout.flush()
            cursor = str(json.loads(lines[-1])["cursor"])
            if cursor_file is not None:  # after they were written: events may come twice after a crash, never be missed
                cursor_file.write_text(cursor + "\n", encoding="utf-8")
        elif follow:
            time.sleep(_WAIT_SECONDS)
        else:
            return


def _span(since: str, until: str | None) -> tuple[float, float]:
    now = datetime.now(UTC)
    start = moment_of(since, now)
    return start or 0.0, moment_of(until, now) or now.timestamp()


def _correction(made: dict[str, Any]) -> None:
    from paddock_core.usage.money import format_amount

    cost = "" if made["cost_nano"] is None else f"{format_amount(made['cost_nano'])} {made['currency']}"
    print_fields(
        {
            "correction": made["usage_id"],
            "of": made["corrects"],
            "input tokens": made["input_tokens"],
            "output tokens": made["output_tokens"],
            "cost": cost,
        }
    )
