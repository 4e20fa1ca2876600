"""The picture of a run is what the operator draws today, and the page speaks of the settings that are there."""

import re
import runpy
from pathlib import Path
from typing import Any

import pytest
from paddock_operator.settings import OperatorSettings

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def drawn() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "bench" / "scaling_picture.py"))


def test_the_picture_is_the_present_one(drawn: dict[str, Any]) -> None:
    present = drawn["picture"](list(drawn["play"]()))
    assert present == (ROOT / "docs" / "pictures" / "scaling.svg").read_text(), (
        "run: python bench/scaling_picture.py > docs/pictures/scaling.svg"
    )


def test_the_run_shows_what_the_page_tells_of_it(drawn: dict[str, Any]) -> None:
    copies = [copies for _, copies, _ in drawn["changes"](list(drawn["play"]()))]
    assert copies == [0, 1, 3, 5, 2, 1, 0, 1]


def test_the_settings_that_the_page_names_exist() -> None:
    page = (ROOT / "docs" / "scaling.md").read_text()
    (first, rest) = re.findall(r"`PADDOCK_OPERATOR_BENCHMARK_(REQUESTS)`, (.*?);", page, re.DOTALL)[0]
    named = {first, *re.findall(r"`_([A-Z]+)`", rest + page)}
    assert {f"benchmark_{name.lower()}" for name in named} == {
        name for name in OperatorSettings.model_fields if name.startswith("benchmark_")
    }
