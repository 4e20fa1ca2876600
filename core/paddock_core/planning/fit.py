"""The fit planner: how a model is cut, from its dimensions, the wish and the cluster's GPUs.

Rules: do not shard what fits; tensor parallelism stays inside a node, pipeline parallelism goes across nodes; the
tensor size divides the attention heads, and divides or replicates the key-value heads. Of several plans the one with
the fewest GPUs wins, then the one without a pipeline, then the one on the smaller GPU.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from paddock_core.catalog.types import ModelEntry
from paddock_core.planning import explain, memory
from paddock_core.planning.alternatives import alternatives_for
from paddock_core.planning.cut import Cut, cuts, invalid_tensor
from paddock_core.planning.memory import CONSTANTS
from paddock_core.planning.types import (
    Ask,
    Engine,
    Inventory,
    MemoryUse,
    NodePool,
    Plan,
    Refusal,
    RefusalReason,
)

FORMATS = {Engine.LLMAPI: "safetensors", Engine.TENSORRT_ENGINE: "safetensors", Engine.LLAMA_CPP: "gguf"}
"""The weights' format that each engine loads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """An `Ask` with every default filled in."""

    model: ModelEntry
    engine: Engine
    precision: str
    context: int
    concurrency: int
    tensor: int | None
    pipeline: int | None
    device_class: str | None = None

    @property
    def weights(self) -> int:
        return self.model.weights[self.precision].bytes


def plan(*, model: ModelEntry, ask: Ask, inventory: Inventory) -> Plan | Refusal:
    """Plan one copy of a model. Total and deterministic: CLI, webhook and status get the same answer."""
    wish = complete(model=model, ask=ask)
    if isinstance(wish, Refusal):
        return wish
    if wish.engine is Engine.LLAMA_CPP:
        return _plan_cpu(wish)
    return _plan_gpu(wish, inventory)


def complete(*, model: ModelEntry, ask: Ask) -> Wish | Refusal:
    """Fill in the defaults, or refuse what no cluster could run."""
    name = ask.engine or model.default_engine
    if name not in tuple(Engine):
        return _refuse(RefusalReason.ENGINE_UNKNOWN, f"engine {name} is none of {', '.join(Engine)}")
    engine = Engine(name)
    precision = ask.precision or model.default_precision
    weights = model.weights.get(precision)
    if weights is None:
        known = ", ".join(sorted(model.weights))
        return _refuse(RefusalReason.PRECISION_UNKNOWN, f"{model.id} has no weights in {precision}; it has: {known}")
    if weights.format != FORMATS[engine]:
        return _refuse(
            RefusalReason.ENGINE_CANNOT_LOAD,
            f"{engine} loads {FORMATS[engine]}, but the {precision} weights of {model.id} are {weights.format}",
        )
    context = ask.context_length or min(model.context_length, CONSTANTS.default_context)
    if context > model.context_length:
        return _refuse(
            RefusalReason.CONTEXT_TOO_LONG,
            f"{model.id} was trained for {model.context_length} tokens, asked: {context}",
        )
    default = CONSTANTS.cpu_concurrency if engine is Engine.LLAMA_CPP else CONSTANTS.gpu_concurrency
    wish = Wish(
        model=model,
        engine=engine,
        precision=precision,
        context=context,
        concurrency=ask.max_concurrency or default,
        tensor=ask.tensor,
        pipeline=ask.pipeline,
        device_class=ask.device_class,
    )
    return impossible_cut(wish) or wish


def impossible_cut(wish: Wish) -> Refusal | None:
    """Refuse a tensor or pipeline size that no GPU could make possible."""
    if wish.engine is Engine.LLAMA_CPP and max(wish.tensor or 1, wish.pipeline or 1) > 1:
        return _refuse(
            RefusalReason.INVALID_PARALLELISM, "LlamaCpp runs on one CPU pod: leave tensor and pipeline unset"
        )
    problem = invalid_tensor(wish.model, wish.tensor) if wish.tensor else None
    if problem is not None:
        return _refuse(RefusalReason.INVALID_PARALLELISM, problem)
    layers = wish.model.dimensions.layers
    if wish.pipeline and wish.pipeline > layers:
        return _refuse(RefusalReason.INVALID_PARALLELISM, f"pipeline {wish.pipeline} is more than the {layers} layers")
    return None


def memory_use(wish: Wish, cut: Cut, *, total: int) -> MemoryUse:
    """What each GPU would hold."""
    dimensions = wish.model.dimensions
    per_token = memory.kv_bytes_per_gpu_token(dimensions, tensor=cut.tensor, pipeline=cut.pipeline)
    return MemoryUse(
        total=total,
        weights=memory.weights_bytes_per_gpu(wish.weights, tensor=cut.tensor, pipeline=cut.pipeline),
        kv_cache=per_token * wish.context * wish.concurrency,
        activations=memory.activation_bytes(dimensions, tensor=cut.tensor, concurrency=wish.concurrency),
        runtime=CONSTANTS.gpu_runtime,
    )


def shortfall(use: MemoryUse) -> int:
    """Bytes that are missing on each GPU; 0 or less when it fits.

    The cache may take `cache_fraction` of what is left after loading, as the engine itself is told.
    """
    left = use.total - use.weights - use.activations - use.runtime
    allowed = int(left * CONSTANTS.cache_fraction) if left > 0 else left
    return use.kv_cache - allowed


def _plan_cpu(wish: Wish) -> Plan:
    per_token = memory.kv_bytes_per_token(wish.model.dimensions)
    kv_tokens = wish.context * wish.concurrency
    kv_cache = per_token * kv_tokens
    compute = int(wish.weights * CONSTANTS.cpu_compute_fraction)
    total = wish.weights + kv_cache + compute + CONSTANTS.cpu_process
    use = MemoryUse(
        total=total, weights=wish.weights, kv_cache=kv_cache, activations=compute, runtime=CONSTANTS.cpu_process
    )
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
        weights_bytes=wish.weights,
        kv_cache_bytes=kv_cache,
        per_gpu=use,
        max_batch_size=wish.concurrency,
        max_sequences=wish.concurrency,
        cpu_millicores=memory.cpu_request(wish.model),
        memory_bytes=-(-total // memory.MIB) * memory.MIB,
        explanation="",
    )
    return replace(draft, explanation=explain.cpu_plan(wish.model, draft))


def _plan_gpu(wish: Wish, inventory: Inventory) -> Plan | Refusal:
    if not inventory.pools:
        text = f"{wish.model.id} needs GPUs, and the cluster has none that are labelled by GPU feature discovery"
        return _refuse(RefusalReason.NO_GPU, text, alternatives=alternatives_for(wish, best_plan))
    capable = [pool for pool in inventory.pools if supports(pool, wish.precision)]
    if not capable:
        need = memory.MIN_CAPABILITY[wish.precision]
        text = (
            f"{wish.precision} needs GPUs of compute capability {need // 10}.{need % 10} or more; the cluster has none"
        )
        return _refuse(RefusalReason.PRECISION_UNSUPPORTED, text, alternatives=alternatives_for(wish, best_plan))
    best = best_plan(wish, capable)
    return best if best is not None else _does_not_fit(wish, capable)


def supports(pool: NodePool, precision: str) -> bool:
    """True if the pool's GPUs can compute in this precision."""
    return pool.gpu.compute_capability >= memory.MIN_CAPABILITY.get(precision, 0)


def best_plan(wish: Wish, pools: list[NodePool]) -> Plan | None:
    """The plan with the fewest GPUs on any of these pools, or None where nothing fits."""
    fitting = [
        (cut, pool)
        for cut, pool in _candidates(wish, pools)
        if shortfall(memory_use(wish, cut, total=pool.gpu.memory)) <= 0
    ]
    if not fitting:
        return None
    cut, pool = min(fitting, key=lambda pair: (pair[0].gpus, pair[0].pipeline, pair[1].gpu.memory, pair[1].gpu.id))
    return _gpu_plan(wish, cut, pool)


def _candidates(wish: Wish, pools: list[NodePool]) -> Iterator[tuple[Cut, NodePool]]:
    for pool in pools:
        for cut in cuts(wish.model, pool, tensor=wish.tensor, pipeline=wish.pipeline):
            yield cut, pool


def _gpu_plan(wish: Wish, cut: Cut, pool: NodePool) -> Plan:
    use = memory_use(wish, cut, total=pool.gpu.memory)
    per_token = memory.kv_bytes_per_gpu_token(wish.model.dimensions, tensor=cut.tensor, pipeline=cut.pipeline)
    for_cache = int((use.total - use.weights - use.activations - use.runtime) * CONSTANTS.cache_fraction)
    gpus_per_pod = cut.tensor * cut.stages_per_pod
    host = int(wish.weights // cut.pods * CONSTANTS.gpu_host_memory_fraction)
    draft = Plan(
        engine=wish.engine,
        precision=wish.precision,
        tensor_parallel=cut.tensor,
        pipeline_parallel=cut.pipeline,
        gpu=pool.gpu.id,
        gpu_products=pool.gpu.products,
        gpus_per_pod=gpus_per_pod,
        pods_per_group=cut.pods,
        context_length=wish.context,
        max_concurrency=wish.concurrency,
        kv_tokens=for_cache // per_token,
        weights_bytes=wish.weights,
        kv_cache_bytes=memory.kv_bytes_per_token(wish.model.dimensions) * wish.context * wish.concurrency,
        per_gpu=use,
        max_batch_size=wish.concurrency,
        max_num_tokens=CONSTANTS.max_batched_tokens,
        max_sequences=for_cache // per_token // wish.context,
        device_class=wish.device_class,
        cpu_millicores=gpus_per_pod * CONSTANTS.gpu_millicores_per_gpu,
        memory_bytes=-(-max(host, CONSTANTS.gpu_host_memory_min) // memory.MIB) * memory.MIB,
        explanation="",
    )
    smaller = _next_smaller(wish, pool, draft)
    return replace(draft, explanation=explain.gpu_plan(wish.model, draft, smaller=smaller))


def _next_smaller(wish: Wish, pool: NodePool, chosen: Plan) -> tuple[Cut, int] | None:
    """The largest cut with fewer GPUs on the same pool and its shortfall: the reason why the model is cut as it is."""
    free = cuts(wish.model, pool, tensor=None, pipeline=None)
    fewer = [cut for cut in free if cut.gpus < chosen.gpus]
    if not fewer or wish.tensor or wish.pipeline:
        return None
    cut = max(fewer, key=lambda item: item.gpus)
    return cut, shortfall(memory_use(wish, cut, total=pool.gpu.memory))


def _does_not_fit(wish: Wish, pools: list[NodePool]) -> Refusal:
    tried = [
        (shortfall(memory_use(wish, cut, total=pool.gpu.memory)), cut, pool) for cut, pool in _candidates(wish, pools)
    ]
    if not tried:
        sizes = ", ".join(f"{pool.nodes} x {pool.gpus_per_node} {pool.gpu.id}" for pool in pools)
        asked = f"tensor {wish.tensor or 'free'}, pipeline {wish.pipeline or 'free'}"
        text = f"the cluster ({sizes} GPUs) has no room for {asked} with tensor parallelism inside a node"
        return _refuse(RefusalReason.DOES_NOT_FIT, text, alternatives=alternatives_for(wish, best_plan))
    missing, cut, pool = min(tried, key=lambda item: (item[0], item[1].gpus, item[2].gpu.id))
    text = explain.does_not_fit(wish.model, precision=wish.precision, cut=cut, gpu=pool.gpu.id, missing=missing)
    return Refusal(
        reason=RefusalReason.DOES_NOT_FIT,
        message=text,
        shortfall_bytes=missing,
        alternatives=alternatives_for(wish, best_plan),
    )


def _refuse(reason: RefusalReason, message: str, *, alternatives: tuple[str, ...] = ()) -> Refusal:
    return Refusal(reason=reason, message=message, alternatives=alternatives)
