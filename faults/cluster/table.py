"""`python -m faults cluster`: plays the faults, prints their table and writes it into docs/reliability.md.

Usage: python -m faults cluster [--short] [--seed N] [NAME ...]
"""

import argparse
import importlib
import pkgutil
import random
import re
import sys
import time
import traceback
from pathlib import Path
from types import ModuleType

from paddock_local.paths import find_checkout

import faults.cluster.kinds
from faults.cluster.outcome import Outcome, Row
from faults.cluster.stage import Stage, stage
from faults.section import Section, commit, machine, played_now

SECTION = Section(
    name="cluster faults",
    columns=("row", "fault", "what is done", "passes if", "measured", "passed", "played"),
    line=re.compile(r"^\| *\d+ *\| *`(?P<name>\w+)` *\|"),
    foot="The last column says of each row when, of which commit, with which seed and on which machine it was played.",
)
_CELL = re.compile(r"(?<!\\)\|")
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
    lines = {name: _whole(line) for name, line in SECTION.lines(page).items()}
    lines |= {row.name: f"{row.line()} {played} |" for row in rows}
    return SECTION.written(page, [lines[name] for name in kinds() if name in lines])


def _whole(line: str) -> str:
    """A row from before its play was noted has a cell less."""
    cells = len(_CELL.split(line.strip())) - 2
    return line if cells == len(SECTION.columns) else f"{line} {NOT_NOTED} |"


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
    print(f"{machine()}; commit {code}, seed {chosen.seed}\n", *SECTION.head(), sep="\n", flush=True)
    rows = list[Row]()
    with stage(seed=chosen.seed) as played:
        for name in chosen.names or kinds():
            rows.append(play(played, name, short=chosen.short))
            print(rows[-1].line(), f"{rows[-1].seconds:.1f} s", flush=True)
            if not chosen.short:
                # Each by itself: a run of hours that is stopped leaves what it has seen.
                about = played_now(code=code, seed=chosen.seed)
                chosen.page.write_text(with_rows(chosen.page.read_text(), rows[-1:], played=about))
    return 0 if all(row.outcome.passed for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
