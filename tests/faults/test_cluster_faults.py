"""Every fault of the cluster in its short form: what `make faults` plays at full length."""

from collections.abc import Iterator

import pytest

from faults.cluster.outcome import Outcome, Row
from faults.cluster.stage import Stage, stage
from faults.cluster.table import BEGIN, END, kinds, play, with_rows

SEED = 7


@pytest.fixture(scope="module")
def played() -> Iterator[Stage]:
    with stage(seed=SEED) as running:
        yield running


@pytest.mark.timeout(300)
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
    page = with_rows(page, [row(first, "old"), row(second, "kept")], about="then")
    page = with_rows(page, [row(first, "new")], about="now")
    assert "old" not in page
    assert "then" not in page
    assert page.index("new") < page.index("kept") < page.index("now")
    assert page.startswith("before\n")
    assert page.endswith("\nafter\n")
    with pytest.raises(ValueError, match="no section"):
        with_rows("nothing", [], about="")
