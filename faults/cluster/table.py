"""`python -m faults cluster`: plays the faults, prints their table and writes it into docs/reliability.md.

Usage: python -m faults cluster [--short] [--seed N] [NAME ...]
"""

import argparse
import importlib
import os
import pkgutil
import platform
import random
import re
import subprocess
import sys
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

from paddock_local.paths import find_checkout

import faults.cluster.kinds
from faults.cluster.outcome import Outcome, Row
from faults.cluster.stage import Stage, stage

COLUMNS = ("row", "fault", "what is done", "passes if", "measured", "passed", "played")
BEGIN, END = "<!-- cluster faults -->", "<!-- /cluster faults -->"
_LINE = re.compile(r"^\| *\d+ *\| *`(?P<name>\w+)` *\|")
_CELL = re.compile(r"(?<!\\)\|")
FOOT = "The last column says of each row when, of which commit, with which seed and on which machine it was played."
NOT_NOTED = "not noted"


def kinds() -> dict[str, ModuleType]:
    """Every fault by the name of its file, in the order of their rows."""
    names = (module.name for module in pkgutil.iter_modules(faults.cluster.kinds.__path__))
    found = {name: importlib.import_module(f"faults.cluster.kinds.{name}") for name in names}
    return dict(sorted(found.items(), key=lambda item: (item[1].ROW, item[0])))


def play(stage: Stage, name: str, *, short: bool) -> Row:
    """Play one fault; one that fails to be played has not passed."""
    kind = kinds()[name]
    size, began = kind.SHORT if short else kind.FULL, time.monotonic()
    try:
        outcome = kind.play(stage, size)
    except Exception as error:  # noqa: BLE001 - the other faults are played all the same
        traceback.print_exc()
        outcome = Outcome(measured=f"not played: {error!r}"[:300], passed=False)
    return Row(name=name, kind=kind, size=size, outcome=outcome, seconds=time.monotonic() - began)


def with_rows(page: str, rows: list[Row], *, played: str) -> str:
    """The page with these rows in place of older ones of the same faults; `played` says when and how they were. Raises
    ValueError without the markers."""
    if BEGIN not in page or END not in page:
        raise ValueError(f"the page has no section {BEGIN} ... {END}")
    before, _, rest = page.partition(BEGIN)
    old, _, after = rest.partition(END)
    lines = {found["name"]: _whole(line) for line in old.splitlines() if (found := _LINE.match(line))}
    lines |= {row.name: f"{row.line()} {played} |" for row in rows}
    order = [name for name in kinds() if name in lines]
    table = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|", *(lines[name] for name in order)]
    return before + "\n".join((BEGIN, *table, "", FOOT, END)) + after


def _whole(line: str) -> str:
    """A row from before its play was noted has a cell less."""
    cells = len(_CELL.split(line.strip())) - 2
    return line if cells == len(COLUMNS) else f"{line} {NOT_NOTED} |"


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


def main(arguments: list[str]) -> int:
    """Entry; the exit code says whether all passed."""
    parser = argparse.ArgumentParser(prog="python -m faults cluster", description="faults of the cluster")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(kinds())} (all)")
    parser.add_argument("--short", action="store_true", help="as much as the tests play; nothing is written")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), help="of what is by chance")
    parser.add_argument("--page", type=Path, default=find_checkout() / "docs" / "reliability.md", help="page to write")
    chosen = parser.parse_args(arguments)
    unknown = set(chosen.names) - set(kinds())
    if unknown:
        parser.error(f"no fault {', '.join(sorted(unknown))}: choose from {', '.join(kinds())}")
    if not chosen.short:
        with_rows(chosen.page.read_text(), [], played="")
    code = commit()
    print(
        f"{machine()}; commit {code}, seed {chosen.seed}\n\n| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|",
        flush=True,
    )
    rows = list[Row]()
    with stage(seed=chosen.seed) as played:
        for name in chosen.names or kinds():
            rows.append(play(played, name, short=chosen.short))
            print(rows[-1].line(), f"{rows[-1].seconds:.1f} s", flush=True)
            if not chosen.short:
                # Each by itself: a run of hours that is stopped leaves what it has seen.
                day = datetime.now(UTC).date().isoformat()
                about = f"{day}, {code}, seed {chosen.seed}, {machine()}"
                chosen.page.write_text(with_rows(chosen.page.read_text(), rows[-1:], played=about))
    return 0 if all(row.outcome.passed for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
