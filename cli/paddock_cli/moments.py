"""Times as people type them."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from paddock_cli.errors import UsageError

_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}

Since = Annotated[str | None, typer.Option(help="From: 2026-11-22, 2026-11-22T10:00, or 24h, 7d ago.")]
Until = Annotated[str | None, typer.Option(help="To, exclusive; as above.")]


def moment_of(text: str | None, now: datetime) -> float | None:
    """Unix seconds of a date, a time (UTC unless it says otherwise) or a span before now.

    Raises UsageError for anything else.
    """
    if text is None:
        return None
    try:
        if text[-1:] in _UNITS and text[:-1].isdigit():
            return (now - int(text[:-1]) * _UNITS[text[-1]]).timestamp()
        found = datetime.fromisoformat(text)
    except (ValueError, OverflowError) as error:
        raise UsageError(f"{text!r} is no time", advice="write 2026-11-22, 2026-11-22T10:00, 24h or 7d") from error
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
