"""docs/planning.md shows what the planner says today."""

from pathlib import Path

from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.planning.fit import plan
from paddock_core.planning.gpus import hypothetical
from paddock_core.planning.table import markdown
from paddock_core.planning.types import Ask, Plan

PAGE = (Path(__file__).parents[2] / "docs" / "planning.md").read_text(encoding="utf-8")
MARK = "<!-- generated -->\n"


def test_the_tables_are_those_that_the_command_writes() -> None:
    _, _, tables = PAGE.partition(MARK)
    assert tables == markdown(packaged_catalog().models), "write it anew: paddock plan table --markdown"


def test_the_example_is_what_the_planner_says() -> None:
    answer = plan(
        model=packaged_catalog().models["llama-3.1-405b-instruct"], ask=Ask(), inventory=hypothetical(gpu="H100-80")
    )
    assert isinstance(answer, Plan)
    assert f"{answer.kv_tokens} tokens, {answer.max_sequences} such sequences" in PAGE
    assert f"{answer.tensor_parallel} x {answer.pipeline_parallel}" in PAGE
    assert f"{answer.max_batch_size} sequences, {answer.max_num_tokens} tokens a step" in PAGE
