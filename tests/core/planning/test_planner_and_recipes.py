"""What the planner lets an engine build quantize or cast, the recipes can make, and of the same checkpoints."""

from importlib import resources

import pytest
import yaml
from paddock_core.planning.constants import table

RECIPES = yaml.safe_load((resources.files("paddock_core.engines") / "recipes.yaml").read_bytes())


@pytest.mark.parametrize("name", sorted(table().precisions))
def test_every_precision_that_is_planned_for_a_build_has_a_recipe(name: str) -> None:
    row, recipe = table().precisions[name], RECIPES["precisions"][name]
    assert set(row.cast_from) <= set(recipe["from"]) or recipe.get("quantize")
    assert not row.quantized_from or recipe["quantize"]


def test_every_architecture_that_is_planned_for_a_build_has_a_converter() -> None:
    builders = [row for row in table().engines.values() if row.quantizes]
    assert {name for row in builders for name in row.architectures} == set(RECIPES["converters"])


def test_every_cache_that_is_planned_has_a_recipe() -> None:
    assert set(table().kv_precisions) == set(RECIPES["kv_precisions"])
