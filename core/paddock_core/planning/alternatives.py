"""What would work instead, when a model does not fit: at most two ways, the nearest first."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from paddock_core.planning.gpus import gpu_table, hypothetical
from paddock_core.planning.memory import MIN_CAPABILITY
from paddock_core.planning.types import NodePool, Plan

if TYPE_CHECKING:
    from paddock_core.planning.fit import Wish

MAX_ALTERNATIVES = 2

Search = Callable[["Wish", list[NodePool]], Plan | None]
"""`fit.best_plan`, handed in because `fit` needs this module."""


def alternatives_for(wish: "Wish", search: Search) -> tuple[str, ...]:
    """Other precisions and GPUs with which the same context and concurrency would fit."""
    found = [*_other_precisions(wish, search), *_other_gpus(wish, search)]
    return tuple(found[:MAX_ALTERNATIVES])


def _other_gpus(wish: "Wish", search: Search) -> Iterator[str]:
    """Every product that would do with a free choice of the cut, fewest GPUs first."""
    free = replace(wish, tensor=None, pipeline=None)
    plans = [plan for name in gpu_table() if (plan := _on(free, name, search)) is not None]
    for plan in sorted(plans, key=lambda item: (item.gpus, item.per_gpu.total, item.gpu or "")):
        yield f"{plan.gpus} x {plan.gpu} ({sizes(plan)}, {plan.precision})"


def _other_precisions(wish: "Wish", search: Search) -> Iterator[str]:
    for precision, weights in sorted(wish.model.weights.items()):
        if precision == wish.precision or weights.format != wish.model.weights[wish.precision].format:
            continue
        yield from list(_other_gpus(replace(wish, precision=precision), search))[:1]


def _on(wish: "Wish", name: str, search: Search) -> Plan | None:
    product = gpu_table()[name]
    if product.compute_capability < MIN_CAPABILITY.get(wish.precision, 0):
        return None
    return search(wish, list(hypothetical(gpu=name).pools))


def sizes(plan: Plan) -> str:
    """`TP8` or `TP8 x PP2`."""
    tensor = f"TP{plan.tensor_parallel}"
    return tensor if plan.pipeline_parallel == 1 else f"{tensor} x PP{plan.pipeline_parallel}"
