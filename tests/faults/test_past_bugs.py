"""The register of past bugs: each has a scenario that is played, and a commit that mended it; how they are replayed."""

import re
import subprocess
from pathlib import Path

import pytest
from paddock_local.paths import find_checkout

from faults import bugs
from faults.bugs import SECTION, Bug, Replay, Result, main, of_fault, of_test, register, replay, row, with_rows
from faults.cluster.table import kinds

ROOT = find_checkout()
BUGS = register(ROOT)
LEAST_REPLAYED = 5
COMMIT = re.compile("[0-9a-f]{40}")
SCENARIO = "tests/test_sum.py"


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: str(bug.name))
def test_each_past_bug_is_played(bug: Bug) -> None:
    assert COMMIT.fullmatch(bug.mended)
    assert bug.frame == "" or COMMIT.fullmatch(bug.frame)
    assert bug.scenario in kinds() or (ROOT / bug.scenario).is_file(), f"nothing plays {bug.scenario}"


def test_enough_of_them_are_replayed_under_names_of_their_own() -> None:
    assert len({bug.name for bug in BUGS}) == len(BUGS)
    assert sum(not bug.not_replayed for bug in BUGS) >= LEAST_REPLAYED


class History:
    """A repository whose operator adds wrongly, then rightly, with a test of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.git("init", "-q")

    def git(self, *arguments: str) -> str:
        who = ("-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false")
        command = ["git", *who, *arguments]
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=True).stdout.strip()

    def commit(self, **files: str) -> str:
        """Write the operator's code or the test, and commit; the commit."""
        paths = {"operator": Path("operator", "paddock_operator", "__init__.py"), "test": Path(SCENARIO)}
        for name, text in files.items():
            path = self.folder / paths[name]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.git("add", "--all")
        self.git("commit", "-q", "-m", "next")
        return self.git("rev-parse", "HEAD")


CHECK = "def test_sum() -> None:\n    assert {call} == 3\n"
FORMER, PRESENT = (f"from paddock_operator import {name}\n\n" + CHECK.format(call=f"{name}(1, 2)") for name in "fg")


def test_a_bug_fails_where_it_was_and_passes_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Each play is a run of pytest: most of its time would go into loading plugins, which this scenario does not use.
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    history = History(tmp_path)
    history.commit(operator="def f(a, b):\n    return a - b\n", test="")
    mended = history.commit(operator="def f(a, b):\n    return a + b\n", test=FORMER)
    bug = Bug(name="sum", bug="", scenario=SCENARIO, mended=mended)
    assert replay(bug, checkout=tmp_path).proves
    # Today's test does not know the code of then: the one that came with the mend is played.
    later = history.commit(operator="def g(a, b):\n    return a + b\n", test=PRESENT)
    assert replay(bug, checkout=tmp_path).proves
    none = replay(Bug(name="none", bug="", scenario=SCENARIO, mended=later), checkout=tmp_path)
    assert (none.there, none.proves) == (Result.NOT_PLAYED, False)
    assert history.git("worktree", "list").count("\n") == 0, "nothing is left behind"


def test_what_is_no_failure_of_the_bug_is_none() -> None:
    assert of_test(1, "E   assert 1 == 2") == Result.FAILS
    assert of_test(1, "E   TypeError: f() got an unexpected keyword") == Result.NOT_PLAYED
    assert of_test(2, "") == Result.NOT_PLAYED
    assert of_fault(1, "| 2 | `x` | 96 times | **no** | 1 s") == Result.FAILS
    assert of_fault(1, "| 2 | `x` | not played: AssertionError('waited 9 s') | **no** |") == Result.FAILS
    assert of_fault(1, "| 2 | `x` | not played: ImportError() | **no** |") == Result.NOT_PLAYED
    assert of_fault(2, "") == Result.NOT_PLAYED


def test_a_row_that_is_played_anew_takes_the_place_of_the_older_one() -> None:
    page = f"before\n{SECTION.begin}\n{SECTION.end}\nafter\n"
    first, second = (Bug(name=name, bug="a | b", scenario="x", mended="") for name in ("a-first", "b-second"))
    proven, vain = Replay(there=Result.FAILS, here=Result.PASSES), Replay(there=Result.PASSES, here=Result.PASSES)
    lines = {bug.name: row(bug, proven, when="then") for bug in (second, first)}
    page = with_rows(page, lines, order=("a-first", "b-second"))
    page = with_rows(page, {"a-first": row(first, vain, when="now")}, order=("a-first", "b-second"))
    assert page.startswith("before\n")
    assert page.endswith("\nafter\n")
    assert "| `a-first` | a \\| b | `x` | passes | passes | **no** | now |" in page
    assert "| `b-second` | a \\| b | `x` | fails | passes | yes | then |" in page
    assert page.index("a-first") < page.index("b-second")
    assert "a-first" not in with_rows(page, {}, order=("b-second",)), "a bug that is no longer in the register"


@pytest.mark.parametrize("proven", [True, False])
def test_each_bug_is_written_as_soon_as_it_was_replayed(
    proven: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, *_ = (bug for bug in BUGS if not bug.not_replayed)
    never = next(bug for bug in BUGS if bug.not_replayed)
    page = tmp_path / "page.md"
    page.write_text(f"{SECTION.begin}\n{SECTION.end}")

    def replayed(bug: Bug, *, checkout: Path) -> Replay:
        assert checkout == ROOT
        if bug.name == second.name:
            raise KeyboardInterrupt
        return Replay(there=Result.FAILS if proven else Result.PASSES, here=Result.PASSES)

    monkeypatch.setattr(bugs, "replay", replayed)
    with pytest.raises(KeyboardInterrupt):
        main([never.name, first.name, second.name, "--page", str(page)])
    lines = SECTION.lines(page.read_text())
    assert set(lines) == {never.name, first.name}
    assert f"not replayed: {never.not_replayed}" in lines[never.name]
    assert ("| yes |" if proven else "| **no** |") in lines[first.name]
    assert main([first.name, "--page", str(page)]) == (0 if proven else 1)


def test_make_faults_replays_them_and_the_page_has_a_place_for_it() -> None:
    said = subprocess.run(["make", "-n", "faults"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "-m faults bugs ||" in said
    assert set(SECTION.lines((ROOT / "docs" / "reliability.md").read_text())) <= {bug.name for bug in BUGS}
