"""The table of conditions and reasons: complete, without leftovers, and readable."""

import ast
import inspect

import pytest
from paddock_core.licensing import registration
from paddock_core.licensing.types import Reason
from paddock_core.planning.types import RefusalReason
from paddock_core.resources.conditions import ConditionReason, ConditionType, ModelConditionType
from paddock_core.resources.reasons import advice, packaged_reasons

TABLE = packaged_reasons()


def lacks_of_models() -> set[str]:
    """Reasons that `unserved` gives: the first words of the pairs that it returns."""
    tree = ast.parse(inspect.getsource(registration.unserved))
    pairs = [
        node.value for node in ast.walk(tree) if isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple)
    ]
    return {str(ast.literal_eval(pair.elts[0])) for pair in pairs}


def test_every_reason_is_in_the_table_and_no_other() -> None:
    lacks = lacks_of_models()
    assert lacks
    assert set(TABLE.reasons) == {*ConditionReason, *Reason, *RefusalReason, *lacks}


def test_every_condition_type_is_in_the_table_and_no_other() -> None:
    assert set(TABLE.types) == {*ConditionType, *ModelConditionType}
    assert {row.of for row in TABLE.types.values()} == {"LlamaDeployment", "LlamaModel", "both"}


@pytest.mark.parametrize("reason", sorted(TABLE.reasons))
def test_a_row_says_what_it_means_and_what_to_do(reason: str) -> None:
    row = TABLE.reasons[reason]
    assert row.on
    assert set(row.on) <= set(TABLE.types)
    assert len(row.means) > 10
    assert advice(reason) == row.do
    assert "|" not in row.means + row.do, "it would end a cell of the page"
