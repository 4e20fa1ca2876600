"""The options for limits, the same for every level."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated, Any

import typer
from paddock_core.policy.documents import Limits
from paddock_core.usage.money import AmountError, parse_amount

from paddock_cli.errors import UsageError

NAMES = tuple(field.name for field in fields(Limits))
LIFTED = {"money_per_month": "money_per_month_nano"}
"""A limit is lifted by the name of the option that sets it."""
RequestsPerMinute = Annotated[int | None, typer.Option(min=0, help="Requests a minute.")]
InputTokensPerMinute = Annotated[int | None, typer.Option(min=0, help="Tokens of prompts a minute.")]
OutputTokensPerMinute = Annotated[int | None, typer.Option(min=0, help="Tokens of answers a minute.")]
ConcurrentRequests = Annotated[int | None, typer.Option(min=0, help="Requests at the same time.")]
MaxOutputTokens = Annotated[int | None, typer.Option(min=1, help="Tokens of one answer.")]
MaxContextTokens = Annotated[int | None, typer.Option(min=1, help="Tokens of one prompt and its answer together.")]
TokensPerDay = Annotated[int | None, typer.Option(min=0, help="Tokens of prompts and answers in a day (UTC).")]
TokensPerMonth = Annotated[int | None, typer.Option(min=0, help="Tokens of prompts and answers in a month (UTC).")]

MoneyPerMonth = Annotated[
    str | None, typer.Option(help="Price of a month (UTC) in the price book's currency, as 12.50.")
]


Unset = Annotated[list[str] | None, typer.Option(help="Name of a limit to lift; may be repeated.")]


def given(**limits: int | None) -> dict[str, Any]:
    """The limits that were given on the command line."""
    return {name: value for name, value in limits.items() if value is not None}


def changed(
    current: Mapping[str, Any], *, changes: Mapping[str, Any], unset: list[str] | None, nothing: bool = False
) -> dict[str, Any]:
    """What the limits become. `nothing` allows that none changes.

    Raises UsageError for a name that no limit has, and where there is nothing to change.
    """
    lifted = {LIFTED.get(name, name): None for name in (text.replace("-", "_") for text in unset or ())}
    unknown = sorted(set(lifted) - set(NAMES))
    if unknown or not (changes or lifted or nothing):
        raise UsageError(
            f"no limit is called {', '.join(unknown)}" if unknown else "nothing to set",
            advice=f"limits are {', '.join(name.replace('_', '-') for name in NAMES)}",
        )
    return {**current, **changes, **lifted}


def nano(amount: str | None) -> int | None:
    """Nano-units of an amount that was given on the command line."""
    try:
        return None if amount is None else parse_amount(amount)
    except AmountError as error:
        raise UsageError(str(error), advice="as in --money-per-month 12.50") from error
