"""Money: whole nano-units (10^-9) of a currency, and the one place where something is rounded.

A price is a whole number of nano-units for a million tokens. What a row's tokens of one bucket cost is their number
times the price, divided by a million, rounded to the nearest nano-unit, halves away from zero. Every other amount is a
sum of such costs, so a sum is the same in whatever order and grouping it is added.
"""

import re

NANO = 1_000_000_000
"""Nano-units in one unit of a currency."""
PER_TOKENS = 1_000_000
"""A price is for so many tokens."""
MOST_TOKENS = 2**31
"""Tokens of one request, in and out each; together with MOST_PRICE it keeps a row's cost within 63 bits."""
MOST_PRICE = 10**15
"""Nano-units for a million tokens."""

_AMOUNT = re.compile(r"([0-9]{1,12})(?:\.([0-9]{1,9}))?")


class AmountError(ValueError):
    """A text is no amount of money."""


def parse_amount(text: str) -> int:
    """Nano-units of a decimal such as `0.15`.

    Raises:
        AmountError: it is not a decimal of at most twelve digits and nine places.
    """
    found = _AMOUNT.fullmatch(text)
    if found is None:
        raise AmountError(f"{text[:40]!r} is no amount: write a decimal such as 0.15, with at most 9 places")
    whole, places = found.group(1), found.group(2) or ""
    return int(whole) * NANO + int(places.ljust(9, "0"))


def format_amount(nano: int) -> str:
    """The exact decimal, without zeros at its end but with at least two places."""
    whole, places = divmod(abs(nano), NANO)
    text = f"{places:09}".rstrip("0").ljust(2, "0")
    return f"{'-' if nano < 0 else ''}{whole}.{text}"


def tokens_cost(*, tokens: int, price: int) -> int:
    """Nano-units that tokens of one bucket cost. Negative tokens (a correction) cost exactly the negative."""
    if tokens < 0:
        return -tokens_cost(tokens=-tokens, price=price)
    return (tokens * price + PER_TOKENS // 2) // PER_TOKENS
