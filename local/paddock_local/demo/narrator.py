"""How the story looks on a terminal. Secrets in a command are shown as `***`."""

import re
import shlex
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape

SECRET = re.compile(r"\b(?:(?:pk|pa|ps)_[A-Za-z0-9]+_[A-Za-z0-9]+_[0-9a-f]+|[0-9a-f]{64})\b")
HIDDEN = "***"


def redacted(text: str) -> str:
    """The text without the credentials in it."""
    return SECRET.sub(HIDDEN, text)


class Progress:
    """A wait that is over says how long it took."""

    def __init__(self, console: Console, what: str) -> None:
        self._console = console
        self._what = what

    def done(self, seconds: float) -> None:
        self._console.print(f"  [dim]…[/] {escape(self._what)} [dim]({seconds:.1f} s)[/]")


class Narrator:
    """Prints steps, commands, what they say and what holds."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._muted = False

    def step(self, number: int, title: str) -> None:
        self._console.print(f"\n[bold]{number}. {escape(title)}[/]")

    def tell(self, text: str) -> None:
        self._console.print(f"  {escape(text)}")

    def command(self, who: str, words: list[str]) -> None:
        if self._muted:
            return
        line = redacted(" ".join(word if HIDDEN in word else shlex.quote(word) for word in words))
        self._console.print(f"  [cyan]{escape(who)}$[/] {escape(line)}", soft_wrap=True)

    def quote(self, text: str, *, limit: int = 12) -> None:
        """What a command printed, shortened to its first lines."""
        lines = redacted(text.strip()).splitlines()
        for line in lines[:limit]:
            self._console.print(f"    [dim]{escape(line)}[/]", soft_wrap=True)
        if len(lines) > limit:
            self._console.print(f"    [dim]… {len(lines) - limit} lines more[/]")

    def holds(self, claim: str) -> None:
        self._console.print(f"  [green]✓[/] {escape(claim)}")

    @contextmanager
    def waiting(self, what: str) -> Iterator[Progress]:
        """While something is asked for again and again, the asking itself is not told."""
        self._muted = True
        try:
            if self._console.is_terminal:
                with self._console.status(escape(what)):
                    yield Progress(self._console, what)
            else:
                yield Progress(self._console, what)
        finally:
            self._muted = False
