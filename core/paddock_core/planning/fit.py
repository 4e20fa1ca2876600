"""The fit planner: how a model is cut, from its dimensions, the wish and the cluster's GPUs.

Rules: do not shard what fits; tensor parallelism stays inside a node, pipeline parallelism goes across nodes; the
tensor size divides the attention heads, and divides or replicates the key-value heads. Of several plans the one with
the fewest GPUs wins, then the one with the fewest pipeline stages, then the one that is not cut over a slow link, then
the one on the smaller GPU.
"""

from collections.abc import Iterator
from dataclasses import replace

from paddock_core.catalog.types import ModelEntry
from paddock_core.planning import explain, memory
from paddock_core.planning import wish as wishes
from paddock_core.planning.alternatives import alternatives_for
from paddock_core.planning.constants import Constants, packaged_constants, table
from paddock_core.planning.cut import cuts
from paddock_core.planning.gpus import order
from paddock_core.planning.need import Need, need_of
from paddock_core.planning.types import Ask, Engine, Inventory, MemoryUse, NodePool, Plan, Refusal, RefusalReason
from paddock_core.planning.wish import FORMATS as FORMATS
from paddock_core.planning.wish import Wish, refuse

CONSTANTS = packaged_constants()


MOST_KEPT = 4096
"""Of answers that are kept; they can be thrown away."""
_loaded: dict[tuple[int, Ask], tuple[ModelEntry, str | None]] = {}


def plan(*, model: ModelEntry, ask: Ask, inventory: Inventory, constants: Constants = CONSTANTS) -> Plan | Refusal:
    """Plan one copy of a model. Total and deterministic: CLI, webhook and status get the same answer."""
    wish = wishes.complete(model=model, ask=ask, constants=constants)
    if isinstance(wish, Refusal):
        return wish
    if wish.engine is Engine.LLAMA_CPP:
        return _plan_cpu(wish)
    return _plan_gpu(wish, inventory)


def complete(*, model: ModelEntry, ask: Ask) -> Wish | Refusal:
    """Fill in the defaults, or refuse what no cluster could run."""
    return wishes.complete(model=model, ask=ask, constants=CONSTANTS)


def loaded(*, model: ModelEntry, ask: Ask) -> str | None:
    """Which of the model's weights an answer to this question would load; None where there is no answer."""
    known = _loaded.get((id(model), ask))
    # The very object, since it is never changed: it is asked in every round of every deployment.
    if known is None or known[0] is not model:
        if len(_loaded) >= MOST_KEPT:
            _loaded.clear()
        wish = complete(model=model, ask=ask)
        known = _loaded[id(model), ask] = (model, None if isinstance(wish, Refusal) else wish.checkpoint)
    return known[1]


def _plan_cpu(wish: Wish) -> Plan:
    per_token = memory.kv_bytes_per_token(wish.model.dimensions)
    kv_tokens = wish.context * wish.concurrency
    constants = wish.constants
    compute = int(wish.weights * constants.cpu_compute_fraction)
    total = wish.weights + per_token * kv_tokens + compute + constants.cpu_process
    draft = Plan(
        engine=wish.engine,
        precision=wish.precision,
        tensor_parallel=1,
        pipeline_parallel=1,
        gpu=None,
        gpu_products=(),
        gpus_per_pod=0,
        pods_per_group=1,
        context_length=wish.context,
        max_concurrency=wish.concurrency,
        kv_tokens=kv_tokens,
        kv_precision=wish.kv_precision,
        max_batch_size=wish.concurrency,
        max_num_tokens=constants.max_batched_tokens,
        max_sequences=wish.concurrency,
        weights_bytes=wish.weights,
        kv_cache_bytes=per_token * kv_tokens,
        per_gpu=MemoryUse(
            total=total,
            weights=wish.weights,
            kv_cache=per_token * kv_tokens,
            activations=compute,
            runtime=constants.cpu_process,
        ),
        cpu_millicores=memory.cpu_request(wish.model, constants=constants),
        memory_bytes=_whole_mib(total),
        explanation="",
    )
    return replace(draft, explanation=explain.cpu_plan(wish, draft))


def _plan_gpu(wish: Wish, inventory: Inventory) -> Plan | Refusal:
    pools = wanted(wish, inventory)
    if isinstance(pools, Refusal):
        return replace(pools, alternatives=alternatives_for(wish, [], best_plan))
    capable = [pool for pool in pools if supports(pool, wish)]
    if not capable:
        need = wish.compute_capability
        text = (
            f"{explain.precisions(wish)} needs GPUs of compute capability {need // 10}.{need % 10} or more; the cluster"
            f" has {explain.sizes_of(pools)}"
        )
        return refuse(RefusalReason.PRECISION_UNSUPPORTED, text, alternatives=alternatives_for(wish, pools, best_plan))
    best = best_plan(wish, capable)
    return best if best is not None else _does_not_fit(wish, capable)


def wanted(wish: Wish, inventory: Inventory) -> list[NodePool] | Refusal:
    """The pools that the wish allows: of its product, whole or in its profile, counted or claimed."""
    known = inventory.device_classes
    if wish.device_class is not None and known is not None and wish.device_class not in known:
        names = ", ".join(known) or "none"
        text = f"the cluster has no device class {wish.device_class}; it has: {names}"
        return refuse(RefusalReason.DEVICE_CLASS_UNKNOWN, text)
    pools = [
        pool
        for pool in inventory.pools
        if pool.mig_profile == wish.mig_profile
        and wish.gpu in (None, pool.gpu.id)
        and pool.claimed == (wish.device_class is not None)
    ]
    if pools:
        return sorted(pools, key=order)
    return refuse(RefusalReason.NO_GPU, explain.no_gpu(wish, inventory))


def supports(pool: NodePool, wish: Wish) -> bool:
    """True if the pool's GPUs can compute in the wish's precisions."""
    return pool.gpu.compute_capability >= wish.compute_capability


def best_plan(wish: Wish, pools: list[NodePool]) -> Plan | None:
    """The plan with the fewest GPUs on any of these pools, or None where nothing fits."""
    fitting = [need for need in needs(wish, pools) if need.shortfall <= 0]
    return _gpu_plan(min(fitting, key=_rank)) if fitting else None


def needs(wish: Wish, pools: list[NodePool]) -> Iterator[Need]:
    """What every cut that the rules allow would need, on pools that can compute it."""
    one_node = table().engines[wish.engine].one_node
    for pool in pools:
        if supports(pool, wish):
            for cut in cuts(wish.model, pool, tensor=wish.tensor, pipeline=wish.pipeline):
                if cut.pods == 1 or not one_node:
                    yield need_of(wish, cut, pool)


def _rank(need: Need) -> tuple[object, ...]:
    cut, gpu = need.cut, need.pool.gpu
    return (cut.gpus, cut.pipeline, cut.tensor > 1 and not gpu.nvlink, gpu.memory, order(need.pool))


def _gpu_plan(need: Need) -> Plan:
    wish, cut, pool = need.wish, need.cut, need.pool
    constants = wish.constants
    gpus_per_pod = cut.tensor * cut.stages_per_pod
    host = int(wish.model.weights[wish.checkpoint].bytes // cut.pods * constants.gpu_host_memory_fraction)
    draft = Plan(
        engine=wish.engine,
        precision=wish.precision,
        checkpoint=None if wish.checkpoint == wish.precision else wish.checkpoint,
        tensor_parallel=cut.tensor,
        pipeline_parallel=cut.pipeline,
        gpu=pool.gpu.id,
        gpu_products=pool.gpu.products,
        mig_profile=pool.mig_profile,
        resource=pool.resource,
        device_class=wish.device_class,
        gpus_per_pod=gpus_per_pod,
        pods_per_group=cut.pods,
        context_length=wish.context,
        max_concurrency=wish.concurrency,
        kv_precision=wish.kv_precision,
        kv_tokens=need.kv_tokens,
        max_sequences=need.sequences,
        max_batch_size=wish.batch or min(need.sequences, constants.max_batch),
        max_num_tokens=constants.max_batched_tokens,
        weights_bytes=wish.weights,
        kv_cache_bytes=need.kv_of_copy,
        per_gpu=need.use,
        cpu_millicores=gpus_per_pod * constants.gpu_millicores_per_gpu,
        memory_bytes=_whole_mib(max(host, constants.gpu_host_memory_min)),
        explanation="",
    )
    return replace(draft, explanation=explain.gpu_plan(need, draft, smaller=_next_smaller(need)))


def _next_smaller(chosen: Need) -> Need | None:
    """The largest cut with fewer GPUs on the same pool: the reason why the model is cut as it is."""
    wish = chosen.wish
    fewer = [need for need in needs(wish, [chosen.pool]) if need.cut.gpus < chosen.cut.gpus]
    return max(fewer, key=lambda need: need.cut.gpus, default=None)


def _does_not_fit(wish: Wish, pools: list[NodePool]) -> Refusal:
    ways = alternatives_for(wish, pools, best_plan)
    tried = list(needs(wish, pools))
    if not tried:
        asked = f"tensor {wish.tensor or 'free'}, pipeline {wish.pipeline or 'free'}"
        where = "on one node" if table().engines[wish.engine].one_node else "with tensor parallelism inside a node"
        text = f"the cluster ({explain.sizes_of(pools)}) has no room for {asked} {where}"
        return refuse(RefusalReason.DOES_NOT_FIT, text, alternatives=ways)
    nearest = min(tried, key=lambda need: (need.shortfall, _rank(need)))
    return Refusal(
        reason=RefusalReason.DOES_NOT_FIT,
        message=explain.does_not_fit(nearest),
        shortfall_bytes=nearest.shortfall,
        alternatives=ways,
    )


def _whole_mib(size: int) -> int:
    return -(-size // memory.MIB) * memory.MIB
