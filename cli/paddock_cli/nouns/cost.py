"""See what deployments held of GPUs, and what a million of their tokens cost."""

from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from paddock_cli.client import Client
from paddock_cli.costs import Rates, compared, priced
from paddock_cli.errors import UsageError
from paddock_cli.moments import moment_of
from paddock_cli.output import Output, OutputOption, print_rows, say, show

app = typer.Typer(help=__doc__, invoke_without_command=True)


class Group(StrEnum):
    """By what the figures are summed."""

    TENANT = "tenant"
    DEPLOYMENT = "deployment"
    DAY = "day"


Since = Annotated[str, typer.Option(help="From: 2026-11-22, 2026-11-22T10:00, or 24h, 7d ago.")]
Until = Annotated[str | None, typer.Option(help="To, exclusive; as above. Now, if not given.")]
GpuHour = Annotated[
    str, typer.Option(envvar="PADDOCK_GPU_HOUR", help="What an hour of one GPU costs you, a decimal such as 2.50.")
]
CpuHour = Annotated[
    str, typer.Option(envvar="PADDOCK_CPU_HOUR", help="What an hour of one CPU that pods asked for costs you.")
]


@app.callback()
def cost(
    context: typer.Context,
    by: Annotated[list[Group] | None, typer.Option(help="By what to sum; may be repeated.")] = None,
    since: Since = "7d",
    until: Until = None,
    gpu_hour: GpuHour = "0",
    cpu_hour: CpuHour = "0",
    output: OutputOption = Output.TABLE,
) -> None:
    """See what deployments held of GPUs, and what a million of their tokens cost."""
    if context.invoked_subcommand is not None:
        return
    rates = Rates.read(gpu_hour=gpu_hour, cpu_hour=cpu_hour)
    report = _read(since, until, by=[item.value for item in by or (Group.TENANT, Group.DEPLOYMENT)])
    show(priced(report, rates), output=output, table=_table)


@app.command()
def compare(
    prices: Annotated[
        Path, typer.Option(exists=True, dir_okay=False, help="Price list of models that others serve (YAML).")
    ],
    since: Since = "7d",
    until: Until = None,
    gpu_hour: GpuHour = "0",
    cpu_hour: CpuHour = "0",
    output: OutputOption = Output.TABLE,
) -> None:
    """Set what your tokens cost beside what the same number would cost at a price list that you supply."""
    from paddock_core.usage.comparison import PriceListError, read_price_list

    rates = Rates.read(gpu_hour=gpu_hour, cpu_hour=cpu_hour)
    if rates.nothing:
        raise UsageError("without a price of hardware there is nothing to compare", advice="give --gpu-hour")
    try:
        listed = read_price_list(prices.read_text(encoding="utf-8"))
    except (PriceListError, UnicodeDecodeError) as error:
        raise UsageError(f"{prices}: {error}", advice="see examples/prices.yaml for the form") from error
    report = _read(since, until, by=["deployment"])
    show(compared(report, rates, listed), output=output, table=_comparison)


def _read(since: str, until: str | None, *, by: list[str]) -> Any:
    now = datetime.now(UTC)
    start, end = moment_of(since, now), moment_of(until, now)
    return Client().get("/v1/costs", **{"from": start, "to": now.timestamp() if end is None else end, "by": by})


def _table(report: dict[str, Any]) -> None:
    numbers = ("pods", "gpu_seconds", "cpu_seconds", "input_tokens", "output_tokens", "cost", "per_million_tokens")
    rows = [
        [*(row[name] or "nobody" for name in report["by"]), *(row[name] for name in numbers)] for row in report["rows"]
    ]
    total = report["total"]
    blank = [""] * (len(report["by"]) - 1)
    rows.append(["total", *blank, *(total[name] for name in numbers)])
    columns = ("PODS", "GPU SECONDS", "CPU SECONDS", "INPUT", "OUTPUT", "COST", "PER MILLION")
    print_rows(rows, *(name.upper() for name in report["by"]), *columns, right=columns)
    if not report["priced"]:
        say("No price of hardware was given, so nothing costs anything: --gpu-hour 2.50, or PADDOCK_GPU_HOUR.")


def _comparison(report: dict[str, Any]) -> None:
    columns = ("OWN COST", "LISTED COST", "OWN / LISTED")
    rows = [
        (row["deployment"], row["model"], row["own_cost"] or "unknown", row["listed_cost"], _share(row["ratio"]))
        for row in report["rows"]
    ]
    print_rows(rows, "DEPLOYMENT", "BESIDE", *columns, right=columns)
    unknown = sorted({row["deployment"] for row in report["rows"] if row["own_cost"] is None})
    if unknown:
        say(
            f"No pod time is known in this period of {', '.join(unknown)}, so there is no cost of yours to compare: "
            "does an operator report it? See docs/metering.md."
        )
    say(f"In {report['currency']}. Each model counts tokens by its own tokenizer: the same text may be more or fewer.")


def _share(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}"
