"""The options for limits, the same for every level."""

from typing import Annotated, Any

import typer
from paddock_core.usage.money import AmountError, parse_amount

from paddock_cli.errors import UsageError

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


def given(**limits: int | None) -> dict[str, Any]:
    """The limits that were given on the command line."""
    return {name: value for name, value in limits.items() if value is not None}


def nano(amount: str | None) -> int | None:
    """Nano-units of an amount that was given on the command line."""
    try:
        return None if amount is None else parse_amount(amount)
    except AmountError as error:
        raise UsageError(str(error), advice="as in --money-per-month 12.50") from error
