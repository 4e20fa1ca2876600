"""Spans of time as people write them."""

from paddock_cli.errors import UsageError

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def seconds(text: str) -> int:
    """Seconds of a span such as 0, 90m, 24h or 7d. Raises UsageError."""
    number, unit = (text[:-1], text[-1:]) if text[-1:] in _UNITS else (text, "s")
    if not (number.isascii() and number.isdigit() and len(number) < 10):
        raise UsageError(f"{text!r} is no span of time", advice="write a whole number with a unit: 90m, 24h or 7d")
    return int(number) * _UNITS[unit]
