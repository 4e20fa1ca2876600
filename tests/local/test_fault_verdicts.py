"""The oracle of the faults sees what it is there to see."""

from dataclasses import replace
from typing import Any

import pytest

from faults.client import Received
from faults.verdict import Verdict, judge

WHOLE = Received(id="a", stream=True, pieces=5, usage=(10, 5), complete=True)
CUT = Received(id="b", stream=True, pieces=40)


def row(name: str, output: int, *, source: str = "exact") -> dict[str, Any]:
    return {"usage_id": name, "input_tokens": 10, "output_tokens": output, "usage_source": source, "stream": True}


def said(verdict: Verdict) -> tuple[int, int, int]:
    return verdict.lost, verdict.doubled, verdict.wrong


def test_agreement_is_clean() -> None:
    rows = [row("a", 5), row("b", 41, source="counted")]
    assert judge(answers=[WHOLE, CUT], rows=rows, rolled_up=2, tokens=50).clean


@pytest.mark.parametrize(
    ("rows", "rolled_up", "expected"),
    [
        ([], 0, (1, 0, 0)),
        ([row("a", 5)], 0, (1, 0, 0)),
        ([row("a", 5), row("a", 5)], 1, (0, 1, 0)),
        ([row("a", 5)], 2, (0, 1, 0)),
        ([row("a", 6)], 1, (0, 0, 1)),
    ],
    ids=["no row", "not in the sums", "two rows", "twice in the sums", "another count"],
)
def test_each_harm_is_seen(rows: list[dict[str, Any]], rolled_up: int, expected: tuple[int, int, int]) -> None:
    verdict = judge(answers=[WHOLE], rows=rows, rolled_up=rolled_up)
    assert said(verdict) == expected
    assert not verdict.clean


@pytest.mark.parametrize(
    ("output", "source", "wrong"),
    [(39, "exact", 1), (40, "exact", 0), (50, "exact", 0), (51, "exact", 1), (8, "bounded", 0), (7, "bounded", 1)],
)
def test_a_cut_answer_is_bounded_on_both_sides(output: int, source: str, wrong: int) -> None:
    assert judge(answers=[CUT], rows=[row("b", output, source=source)], rolled_up=1, tokens=50).wrong == wrong


def test_a_row_of_another_kind_of_answer_is_wrong() -> None:
    other = replace(CUT, stream=False)
    assert judge(answers=[other], rows=[row("b", 40)], rolled_up=1, tokens=50).wrong == 1
