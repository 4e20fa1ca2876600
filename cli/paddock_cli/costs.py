"""What the hours of hardware make of the control plane's report: costs, prices for a million tokens, comparisons."""

from dataclasses import dataclass
from typing import Any

from paddock_core.usage.comparison import PriceList, hardware_cost, per_million, ratio
from paddock_core.usage.money import AmountError, format_amount, parse_amount

from paddock_cli.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Nano-units of some currency for an hour of one GPU, and of one CPU."""

    gpu_hour_nano: int
    cpu_hour_nano: int

    @classmethod
    def read(cls, *, gpu_hour: str, cpu_hour: str) -> "Rates":
        """From decimals. Raises UsageError."""
        try:
            return cls(gpu_hour_nano=parse_amount(gpu_hour), cpu_hour_nano=parse_amount(cpu_hour))
        except AmountError as error:
            raise UsageError(str(error), advice="write what an hour costs as a decimal: --gpu-hour 2.50") from error

    @property
    def nothing(self) -> bool:
        """True if hardware costs nothing."""
        return self.gpu_hour_nano == self.cpu_hour_nano == 0

    def cost(self, row: dict[str, Any]) -> int:
        """Nano-units that the time of a row costs."""
        return hardware_cost(
            gpu_ms=round(row["gpu_seconds"] * 1000),
            gpu_hour_nano=self.gpu_hour_nano,
            cpu_milli_ms=round(row["cpu_seconds"] * 1_000_000),
            cpu_hour_nano=self.cpu_hour_nano,
        )


def priced(report: dict[str, Any], rates: Rates) -> dict[str, Any]:
    """The report with a cost, and a price for a million tokens, in each row."""
    return {
        **report,
        "priced": not rates.nothing,
        "rows": [_priced(row, rates) for row in report["rows"]],
        "total": _priced(report["total"], rates),
    }


def compared(report: dict[str, Any], rates: Rates, listed: PriceList) -> dict[str, Any]:
    """Each deployment that answered anything beside each listed model. Without any pod time its cost is not known."""
    rows = []
    for row in report["rows"]:
        tokens = {name: row[name] for name in ("input_tokens", "output_tokens")}
        if not any(tokens.values()):
            continue
        own = rates.cost(row) if _had_pods(row) else None
        for model in listed.models:
            theirs = model.cost(**tokens)
            rows.append(
                {
                    "deployment": row["deployment"],
                    **tokens,
                    "own_cost": None if own is None else format_amount(own),
                    "model": model.name,
                    "source": model.source,
                    "as_of": model.as_of,
                    "listed_cost": format_amount(theirs),
                    "ratio": None if own is None else ratio(own_nano=own, listed_nano=theirs),
                }
            )
    return {"currency": listed.currency, "rows": rows}


def _had_pods(row: dict[str, Any]) -> bool:
    """Without any pod time nothing is known of what tokens cost; that is not the same as nothing."""
    return bool(row["gpu_seconds"] or row["cpu_seconds"])


def _priced(row: dict[str, Any], rates: Rates) -> dict[str, Any]:
    cost = rates.cost(row)
    price = per_million(nano=cost, tokens=row["input_tokens"] + row["output_tokens"]) if _had_pods(row) else None
    return {
        **row,
        "cost": None if rates.nothing else format_amount(cost),
        "per_million_tokens": None if rates.nothing or price is None else format_amount(price),
    }
