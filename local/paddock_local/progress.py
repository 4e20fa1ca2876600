"""Telling a person what goes on: one line per step, with elapsed time and an estimate for the long ones."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

# Without a terminal (a CI log) a long step speaks this often.
QUIET_INTERVAL_S = 15.0


class Progress:
    """Writes to standard error, so that programs can read standard output."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False)

    def say(self, text: str) -> None:
        """One line."""
        self.console.print(text, soft_wrap=True)

    @contextmanager
    def step(self, title: str) -> Iterator[Callable[[str], None]]:
        """A step: `title` with a spinner, then how long it took. The value given out updates the text shown."""
        started = time.monotonic()
        spoke = started
        with self.console.status(title) as status:

            def update(text: str) -> None:
                nonlocal spoke
                shown = f"{title}: {text} ({elapsed(started)})"
                status.update(shown)
                if not self.console.is_terminal and time.monotonic() - spoke >= QUIET_INTERVAL_S:
                    spoke = time.monotonic()
                    self.console.print(f"  … {shown}", soft_wrap=True)

            yield update
        self.console.print(f"  [green]✓[/green] {title} [dim]{elapsed(started)}[/dim]", soft_wrap=True)


def elapsed(started: float) -> str:
    """Time since `started` (monotonic clock), for people."""
    seconds = time.monotonic() - started
    return f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds // 60)} min {int(seconds % 60):02d} s"


def remaining(started: float, done: int, total: int) -> str:
    """What is done of `total`, and a guess at what is left."""
    if not done:
        return f"0 of {total}"
    left = (time.monotonic() - started) / done * max(total - done, 0)
    return (
        f"{done} of {total}, about {left / 60:.0f} min left"
        if left >= 90
        else f"{done} of {total}, about {left:.0f} s left"
    )
