"""A table that is written into a page, between marks: a row that is played anew takes the place of the older one."""

import os
import platform
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from paddock_local.paths import find_checkout


@dataclass(frozen=True, kw_only=True)
class Section:
    """What lies between the marks."""

    name: str
    columns: tuple[str, ...]
    line: re.Pattern[str]
    """What a row begins with, and its `name`."""
    foot: str
    """What is said below."""

    @property
    def begin(self) -> str:
        return f"<!-- {self.name} -->"

    @property
    def end(self) -> str:
        return f"<!-- /{self.name} -->"

    def head(self) -> tuple[str, str]:
        """The first two lines of the table."""
        return f"| {' | '.join(self.columns)} |", "|---" * len(self.columns) + "|"

    def lines(self, page: str) -> dict[str, str]:
        """The rows that a page has, by name. Raises ValueError without the marks."""
        _, old, _ = self._parts(page)
        return {found["name"]: line for line in old.splitlines() if (found := self.line.match(line))}

    def written(self, page: str, lines: Iterable[str]) -> str:
        """The page with these rows in place of all that it had. Raises ValueError without the marks."""
        before, _, after = self._parts(page)
        return before + "\n".join((self.begin, *self.head(), *lines, "", self.foot, self.end)) + after

    def _parts(self, page: str) -> tuple[str, str, str]:
        if self.begin not in page or self.end not in page:
            raise ValueError(f"the page has no section {self.begin} ... {self.end}")
        before, _, rest = page.partition(self.begin)
        old, _, after = rest.partition(self.end)
        return before, old, after


def cells(*values: object) -> str:
    """A row, as Markdown."""
    return "| " + " | ".join(str(value).replace("|", "\\|").replace("\n", " ") for value in values) + " |"


def commit() -> str:
    """What is played: the commit, and whether files differ from it. Empty where there is no git."""

    def git(*arguments: str) -> str:
        asked = ("git", "-C", str(find_checkout()), *arguments)
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()

    try:
        # The page that is written meanwhile is no part of what is played.
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs")
        return git("rev-parse", "--short=10", "HEAD") + (" and changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "of no commit"


def machine() -> str:
    """What ran it, in words."""
    cores, load = os.cpu_count(), os.getloadavg()[1]
    kernel, python = platform.release(), platform.python_version()
    return f"{platform.machine()}, {cores} cores, load {load:.1f}, Linux {kernel}, Python {python}"


def played_now(*, code: str, seed: int | str) -> str:
    """When, of which commit (`commit()`), with which seed and where it was."""
    return f"{datetime.now(UTC).date().isoformat()}, {code}, seed {seed}, {machine()}"
