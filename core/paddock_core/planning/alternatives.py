"""What would work instead, when a model does not fit: two ways, the first on the cluster's GPUs if there is one."""

import bisect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice

from paddock_core.planning.constants import table
from paddock_core.planning.gpus import hypothetical
from paddock_core.planning.products import gpu_table
from paddock_core.planning.types import NodePool, Plan
from paddock_core.planning.wish import DEFAULT_KV, Wish

MAX_ALTERNATIVES = 2

Search = Callable[[Wish, list[NodePool]], Plan | None]
"""`fit.best_plan`, handed in because `fit` needs this module."""


def alternatives_for(wish: Wish, pools: Sequence[NodePool], search: Search) -> tuple[str, ...]:
    """Other precisions, loads and GPUs that would fit."""
    here = list(islice(_here(wish, list(pools), search), MAX_ALTERNATIVES)) if pools else []
    elsewhere = islice(_elsewhere(wish, search), MAX_ALTERNATIVES)
    return tuple(islice(dict.fromkeys(chain(here[:1], elsewhere, here[1:])), MAX_ALTERNATIVES))


def _here(wish: Wish, pools: list[NodePool], search: Search) -> Iterator[str]:
    """On the cluster's own GPUs: other weights, a smaller cache, fewer or shorter sequences, a free cut."""
    for other in _other_weights(wish):
        if (plan := search(other, pools)) is not None:
            yield shape(plan)
    for name, kept in table().kv_precisions.items():
        plan = search(replace(wish, kv_precision=name), pools) if kept.bytes < wish.kv_bytes else None
        if plan is not None:
            yield f"{shape(plan)} with a cache in {name}"
    if (plan := _lighter(wish, pools, search)) is not None:
        yield f"{shape(plan)} for {_load(plan)}"
    if (plan := search(replace(wish, tensor=None, pipeline=None), pools)) is not None:
        yield shape(plan)


def _lighter(wish: Wish, pools: list[NodePool], search: Search) -> Plan | None:
    """As many sequences as fit; where not even one does, one of half the context, or of half of that."""

    def of(count: int) -> Plan | None:
        return search(replace(wish, concurrency=count, batch=count), pools)

    fits = bisect.bisect_right(range(1, wish.concurrency), 0, key=lambda count: of(count) is None)
    if fits:
        return of(fits)
    context = wish.context // 2
    while context >= wish.constants.kv_block_tokens:
        plan = search(replace(wish, concurrency=1, batch=1, context=context), pools)
        if plan is not None:
            return plan
        context //= 2
    return None


def _load(plan: Plan) -> str:
    sequences = "1 sequence" if plan.max_concurrency == 1 else f"{plan.max_concurrency} sequences"
    return f"{sequences} of {plan.context_length} tokens"


def _other_weights(wish: Wish) -> Iterator[Wish]:
    """The model's other checkpoints that the same engine loads."""
    form = wish.model.weights[wish.checkpoint].format
    for precision, weights in sorted(wish.model.weights.items(), key=lambda item: -item[1].bytes):
        if precision != wish.precision and weights.format == form:
            yield replace(wish, precision=precision, checkpoint=precision, weights=weights.bytes, basis=weights.basis)


def _elsewhere(wish: Wish, search: Search) -> Iterator[str]:
    """On every product, with a free choice of the cut, fewest GPUs first; then with a plain cache or other weights."""
    free = replace(wish, tensor=None, pipeline=None, gpu=None, mig_profile=None, device_class=None)
    for asked in (free, replace(free, kv_precision=DEFAULT_KV), *_other_weights(free)):
        every = (search(asked, list(hypothetical(gpu=name).pools)) for name in gpu_table())
        plans = [plan for plan in every if plan is not None]
        yield from map(shape, sorted(plans, key=lambda plan: (plan.gpus, plan.per_gpu.total, plan.gpu or "")))


def shape(plan: Plan) -> str:
    """`8 x H200-141 (TP8, bf16)`."""
    tensor = f"TP{plan.tensor_parallel}"
    cut = tensor if plan.pipeline_parallel == 1 else f"{tensor} x PP{plan.pipeline_parallel}"
    what = plan.gpu if plan.mig_profile is None else f"{plan.mig_profile} of {plan.gpu}"
    return f"{plan.gpus} x {what} ({cut}, {plan.precision})"
