"""`python -m faults bugs`: past bugs against the commits that had them. Each must fail there, and pass here. Writes the
table of them into docs/reliability.md.

Usage: python -m faults bugs [NAME ...]

Played is today's scenario on the operator of then; where it does not run with that, the scenario as it was at the mend.
"""

import argparse
import contextlib
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import msgspec
from paddock_local.paths import find_checkout

from faults.section import Section, cells, commit, played_now

REGISTER = Path("faults", "bugs.yaml")
MENDED_PARTS = ("operator", "core")
"""Folders of packages in which the bugs were. All else is of the commit that the scenario is of."""
SEED = "7"
SECONDS = 600
"""A scenario that takes longer is none of its short form."""
NOT_PLAYED = re.compile(r"^E +(ImportError|ModuleNotFoundError|TypeError|AttributeError|NameError)\b", re.MULTILINE)

SECTION = Section(
    name="past bugs",
    columns=("bug", "what was wrong", "scenario", "with the bug", "here", "proven", "played"),
    line=re.compile(r"^\| *`(?P<name>[\w-]+)` *\|"),
    foot="The last column says of each when it was played, with which commit as *here*, which seed, on which machine.",
)


class Bug(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An entry of the register."""

    name: str
    bug: str
    scenario: str
    """A fault of faults/cluster/kinds, or a test."""
    mended: str
    """Commit; the one before it has the bug."""
    frame: str = ""
    """Commit of the scenario as it was then, where it came later than the mend."""
    not_replayed: str = ""
    """Why it cannot be played against that commit."""


class Result(StrEnum):
    """What came of a scenario."""

    PASSES = "passes"
    FAILS = "fails"
    NOT_PLAYED = "cannot be played"


@dataclass(frozen=True, kw_only=True)
class Replay:
    """What came of it on the commit with the bug, and here."""

    there: Result
    here: Result

    @property
    def proves(self) -> bool:
        """Whether the scenario finds the bug, and the bug is gone."""
        return (self.there, self.here) == (Result.FAILS, Result.PASSES)


def row(bug: Bug, found: Replay | None, *, when: str) -> str:
    """Its line of the table; None: it was not replayed."""
    about = (f"`{bug.name}`", bug.bug, f"`{bug.scenario}`")
    if found is None:
        return cells(*about, f"not replayed: {bug.not_replayed}", "", "", "")
    return cells(*about, found.there, found.here, "yes" if found.proves else "**no**", when)


def with_rows(page: str, rows: dict[str, str], *, order: Iterable[str]) -> str:
    """The page with these rows in place of older ones of the same bugs, and none of a bug that is not in `order`.
    Raises ValueError without the marks."""
    lines = SECTION.lines(page) | rows
    return SECTION.written(page, [lines[name] for name in order if name in lines])


def register(checkout: Path) -> list[Bug]:
    """All past bugs. Raises msgspec.ValidationError."""
    return msgspec.yaml.decode((checkout / REGISTER).read_bytes(), type=list[Bug])


def replay(bug: Bug, *, checkout: Path) -> Replay:
    """Play a bug's scenario there and here. Raises RuntimeError without the history that it needs."""
    with worktree(checkout, f"{bug.mended}^") as unfixed:
        there = played(bug.scenario, frame=checkout, product=unfixed)
        if there == Result.NOT_PLAYED:
            with worktree(checkout, bug.frame or bug.mended) as then:
                there = played(bug.scenario, frame=then, product=unfixed)
    return Replay(there=there, here=played(bug.scenario, frame=checkout, product=checkout))


@contextlib.contextmanager
def worktree(checkout: Path, commit: str) -> Iterator[Path]:
    """A commit's files in a folder of their own."""
    git = ("git", "-C", str(checkout), "worktree")
    with tempfile.TemporaryDirectory(prefix="paddock-bug-") as folder:
        path = Path(folder, "checkout")
        command = [*git, "add", "--quiet", "--detach", str(path), commit]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"no commit {commit} here (`git fetch --unshallow` brings the history): {done.stderr}")
        try:
            yield path
        finally:
            subprocess.run([*git, "remove", "--force", str(path)], capture_output=True, check=False)


def played(scenario: str, *, frame: Path, product: Path) -> Result:
    """Play a scenario of one checkout on the product of another."""
    is_test = scenario.endswith(".py")
    options = (
        ("pytest", "-q", "-p", "no:cacheprovider") if is_test else ("faults", "cluster", "--short", "--seed", SEED)
    )
    parts = [product / name for name in MENDED_PARTS]
    parts += sorted({package.parent for package in frame.glob("*/paddock_*")} - {frame / name for name in MENDED_PARTS})
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (*parts, frame)))}
    command = [sys.executable, "-m", *options, scenario]
    try:
        done = subprocess.run(
            command, cwd=frame, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return Result.NOT_PLAYED
    return (of_test if is_test else of_fault)(done.returncode, done.stdout)


def of_test(code: int, said: str) -> Result:
    """By pytest's exit code: 1 is a test that failed, which one that does not know the code of then does too."""
    if code == 0:
        return Result.PASSES
    return Result.FAILS if code == 1 and not NOT_PLAYED.search(said) else Result.NOT_PLAYED


def of_fault(code: int, said: str) -> Result:
    """By the last cell of its row. One that waits in vain has failed; any other exception is none of the bug's."""
    if code == 0:
        return Result.PASSES
    is_row = "| **no** |" in said and ("not played:" not in said or "not played: AssertionError" in said)
    return Result.FAILS if is_row else Result.NOT_PLAYED


def main(arguments: list[str]) -> int:
    """Entry; the exit code says whether each bug that can be replayed fails there and passes here."""
    checkout = find_checkout()
    bugs = {bug.name: bug for bug in register(checkout)}
    parser = argparse.ArgumentParser(prog="python -m faults bugs", description="past bugs, replayed")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(bugs)} (all)")
    parser.add_argument("--page", type=Path, default=checkout / "docs" / "reliability.md", help="page to write")
    chosen = parser.parse_args(arguments)
    unknown = set(chosen.names) - set(bugs)
    if unknown:
        parser.error(f"no bug {', '.join(sorted(unknown))}: choose from {', '.join(bugs)}")
    with_rows(chosen.page.read_text(), {}, order=bugs)
    code, all_proven = commit(), True
    for name in chosen.names or bugs:
        bug = bugs[name]
        found = None if bug.not_replayed else replay(bug, checkout=checkout)
        if found is None:
            print(f"{name}: not replayed: {bug.not_replayed}", flush=True)
        else:
            all_proven = all_proven and found.proves
            print(f"{name}: {found.there} there, {found.here} here{'' if found.proves else ' (!)'}", flush=True)
        # Each by itself: a run that is stopped leaves what it has seen.
        line = row(bug, found, when=played_now(code=code, seed=SEED))
        chosen.page.write_text(with_rows(chosen.page.read_text(), {name: line}, order=bugs))
    return 0 if all_proven else 1
