"""Every reason of the table has a test that brings it forth: reasons_and_tests.yaml names it, this looks at it.

Looked at by reading the tests, not by running them: each named test must be there, and must speak of the reason, by its
word or by its constant, in itself or in what it takes from its module.
"""

import ast
from functools import cache
from pathlib import Path

import pytest
import yaml
from paddock_core.licensing.types import Reason
from paddock_core.planning.types import RefusalReason
from paddock_core.resources.conditions import ConditionReason
from paddock_core.resources.reasons import packaged_reasons

ROOT = Path(__file__).parents[3]
REGISTRY: dict[str, str] = yaml.safe_load((Path(__file__).parent / "reasons_and_tests.yaml").read_text("utf-8"))
CONSTANTS = {
    f"{kind.__name__}.{item.name}": item.value for kind in (ConditionReason, Reason, RefusalReason) for item in kind
}


@cache
def module(path: str) -> dict[str, ast.AST]:
    """What a test module has at its top, by name, and the tests of its classes."""
    found: dict[str, ast.AST] = {}
    for node in ast.parse((ROOT / path).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found[node.name] = node
        elif isinstance(node, ast.ClassDef):
            found |= {item.name: item for item in node.body if isinstance(item, ast.FunctionDef)}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id: node for target in targets if isinstance(target, ast.Name)}
    return found


def words(path: str, name: str, *, seen: frozenset[str] = frozenset()) -> set[str]:
    """Every text and every constant of a reason in a test, and in what it uses of its module."""
    found: set[str] = set()
    for node in ast.walk(module(path)[name]):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.add(node.value)
        elif isinstance(node, ast.Attribute):
            found.add(CONSTANTS.get(ast.unparse(node), ""))
        elif isinstance(node, ast.Name) and node.id in module(path) and node.id not in seen:
            found |= words(path, node.id, seen=seen | {name, node.id})
    return found


def test_the_registry_has_every_reason_and_no_other() -> None:
    assert sorted(REGISTRY) == sorted(packaged_reasons().reasons)


@pytest.mark.parametrize("reason", sorted(packaged_reasons().reasons))
def test_a_test_brings_it_forth(reason: str) -> None:
    path, _, name = REGISTRY[reason].partition("::")
    assert name.startswith("test_")
    assert name in module(path), f"{path} has no test {name}"
    assert reason in words(path, name), f"{name} of {path} does not speak of {reason}"
