"""Every fault of the cluster in its short form: what `make faults` plays at full length."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.cluster import table
from faults.cluster.outcome import Outcome, Row
from faults.cluster.stage import Stage, stage
from faults.cluster.table import NOT_NOTED, SECTION, kinds, play, with_rows

SEED = 7
BEGIN, END = SECTION.begin, SECTION.end


@pytest.fixture(scope="module")
def played() -> Iterator[Stage]:
    with stage(seed=SEED) as running:
        yield running


@pytest.mark.parametrize("name", list(kinds()))
def test_fault_is_survived(played: Stage, name: str) -> None:
    outcome = play(played, name, short=True).outcome
    assert outcome.passed, outcome.measured


@pytest.mark.parametrize("name", list(kinds()))
def test_each_says_what_it_is(name: str) -> None:
    kind = kinds()[name]
    assert isinstance(kind.ROW, int)
    assert kind.WHAT
    assert kind.PASS
    assert 0 < kind.SHORT <= kind.FULL


def test_rows_replace_older_ones_and_leave_others() -> None:
    first, second = list(kinds())[:2]

    def row(name: str, measured: str) -> Row:
        kind = kinds()[name]
        return Row(name=name, kind=kind, size=1, outcome=Outcome(measured=measured, passed=True), seconds=1.0)

    page = f"before\n{BEGIN}\n{END}\nafter\n"
    page = with_rows(page, [row(first, "old"), row(second, "kept")], played="then")
    page = with_rows(page, [row(first, "new")], played="now")
    assert "old" not in page
    assert page.index("new") < page.index("now") < page.index("kept") < page.index("then"), "each says when"
    assert page.startswith("before\n")
    assert page.endswith("\nafter\n")
    with pytest.raises(ValueError, match="no section"):
        with_rows("nothing", [], played="")


def test_a_row_whose_play_was_not_noted_says_so() -> None:
    name = next(iter(kinds()))
    page = with_rows(f"{BEGIN}\n| 1 | `{name}` | a \\| b | c | d | yes |\n{END}", [], played="now")
    assert f"| 1 | `{name}` | a \\| b | c | d | yes | {NOT_NOTED} |" in page
    assert with_rows(page, [], played="later") == page


def test_each_row_is_written_as_soon_as_it_was_played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = list(kinds())[:2]
    page = tmp_path / "page.md"
    page.write_text(f"{BEGIN}\n{END}")

    def played_once(_stage: Stage, name: str, *, short: bool) -> Row:
        assert not short
        if name == second:
            raise KeyboardInterrupt
        return Row(name=name, kind=kinds()[name], size=1, outcome=Outcome(measured="x", passed=True), seconds=1.0)

    monkeypatch.setattr(table, "play", played_once)
    with pytest.raises(KeyboardInterrupt):
        table.main([first, second, "--seed", "11", "--page", str(page)])
    assert f"`{first}`" in page.read_text()
    assert "seed 11" in page.read_text()
