"""What a bench printed replaces its section of docs/performance.md, and nothing else."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_SPEC = importlib.util.spec_from_file_location("bench_main", ROOT / "bench" / "__main__.py")
assert _SPEC is not None
assert _SPEC.loader is not None
bench = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(bench)

PAGE = "# Page\n<!-- a -->\nold\n<!-- /a -->\nbetween\n<!-- b -->\n<!-- /b -->\n"


def test_a_table_goes_in_as_it_is():
    page = bench.with_section(PAGE, name="a", printed="| x |\n|---|\n| 1 |\n")
    assert "old" not in page
    assert "<!-- a -->\n| x |\n|---|\n| 1 |\n" in page
    assert page.endswith("between\n<!-- b -->\n<!-- /b -->\n")


def test_other_output_goes_in_as_code():
    assert "<!-- b -->\n```\n5 s\n```\n" in bench.with_section(PAGE, name="b", printed="5 s\n")


def test_a_section_that_is_not_there_is_an_error():
    with pytest.raises(ValueError, match="no section"):
        bench.with_section(PAGE, name="c", printed="")


def test_the_page_has_a_section_for_each_bench():
    page = (ROOT / "docs" / "performance.md").read_text()
    assert all(f"<!-- {name} -->" in page and f"<!-- /{name} -->" in page for name in bench.BENCHES)
    assert all((ROOT / "bench" / f"{name}.py").is_file() for name in bench.BENCHES)


def test_a_bench_that_ran_and_missed_is_told_from_one_that_broke_off():
    assert bench.ran_and_missed("| x |\n\nMissed: memory.\n")
    assert not bench.ran_and_missed("| x |\n")
    assert not bench.ran_and_missed("")
