"""A plan in words."""

from collections.abc import Sequence

from paddock_core.planning import memory
from paddock_core.planning.constants import GIB, MIB
from paddock_core.planning.cut import Cut
from paddock_core.planning.need import Need
from paddock_core.planning.types import Inventory, MemoryUse, NodePool, Plan
from paddock_core.planning.wish import Wish

_BASIS = {
    "files": "the checkpoint's files",
    "parameters": "counted from its parameters",
    "estimate": "an estimate: its matrices in this precision, the rest in 16 bits",
}


def size_text(size: int) -> str:
    """Bytes for people, in GiB, MiB or KiB; with a decimal where it matters."""
    for unit, name in ((GIB, "GiB"), (MIB, "MiB")):
        if abs(size) >= unit:
            number = size / unit
            return f"{number:.1f} {name}" if name == "GiB" or abs(number) < 10 else f"{number:.0f} {name}"
    return f"{size / 1024:.0f} KiB"


def gpu_plan(need: Need, plan: Plan, *, smaller: Need | None) -> str:
    """Why a model is cut this way. `smaller` is the next smaller cut."""
    title, weights = need.wish.model.title, size_text(plan.weights_bytes)
    parts = [
        f"{title} in {plan.precision}: {weights} of weights ({_basis(need.wish)}), {_cache(need.wish)}.",
        _shape(need),
        _per_gpu(need),
        f"In all {plan.kv_tokens} tokens of cache fit: {plan.max_sequences} sequences of {plan.context_length} tokens.",
    ]
    if smaller is not None:
        parts.append(_why_not(smaller))
    return " ".join((*parts, *need.wish.model.plan_notes))


def _basis(wish: Wish) -> str:
    return _BASIS.get(wish.basis, wish.basis)


def _cache(wish: Wish) -> str:
    dimensions = wish.model.dimensions
    each = size_text(memory.kv_bytes_per_token(dimensions, bytes_each=wish.kv_bytes))
    text = f"{each} of cache for a token in {wish.kv_precision}"
    if dimensions.kv_heads == dimensions.heads:
        text += f" (all {dimensions.heads} heads keep keys and values of their own)"
    if dimensions.image_layers:
        image = size_text(memory.image_bytes_per_gpu_sequence(dimensions, tensor=1, pipeline=1))
        text += f" and {image} for an image of {dimensions.image_tokens} tokens"
    return text


def _shape(need: Need) -> str:
    cut, pool = need.cut, need.pool
    if cut.gpus == 1:
        return f"It fits one {_thing(pool)}, so it is not cut."
    slow = ""
    if not pool.gpu.nvlink and cut.tensor > 1:
        slow = f" {pool.gpu.id} GPUs are not all joined by NVLink: the parts exchange over PCIe, which is slow."
    tensor = f"Tensor parallelism {cut.tensor} inside each node of {pool.gpu.id}"
    if cut.pipeline == 1:
        return f"{tensor}: {cut.gpus} GPUs in one pod.{slow}"
    where = f"across {cut.pods} nodes" if cut.pods > 1 else "inside the same node"
    return f"{tensor}, pipeline parallelism {cut.pipeline} {where}: {cut.gpus} GPUs.{slow}"


def _thing(pool: NodePool) -> str:
    return pool.gpu.id if pool.mig_profile is None else f"{pool.mig_profile} part of {pool.gpu.id}"


def _per_gpu(need: Need) -> str:
    use = need.use
    return (
        f"Each GPU holds {size_text(use.weights)} of weights, {size_text(use.kv_cache)} of cache for"
        f" {need.wish.concurrency} sequences of {need.wish.context} tokens, and"
        f" {size_text(use.activations + use.runtime)} of activations and runtime, of {size_text(use.total)}."
    )


def _why_not(smaller: Need) -> str:
    cut = sizes(smaller.cut)
    if smaller.shortfall > 0:
        return f"{cut} would lack {size_text(smaller.shortfall)} on each GPU."
    return f"{cut} would fit too, but another cut was asked for."


def cpu_plan(wish: Wish, plan: Plan) -> str:
    """What a CPU pod needs."""
    use = plan.per_gpu
    return (
        f"{wish.model.title} in {plan.precision} runs on CPU in one pod: {size_text(use.weights)} of weights,"
        f" {size_text(use.kv_cache)} of cache for {plan.max_concurrency} sequences of {plan.context_length} tokens,"
        f" {size_text(use.activations + use.runtime)} for buffers and the process; it requests"
        f" {size_text(plan.memory_bytes)} and {plan.cpu_millicores / 1000:g} CPU."
    )


def does_not_fit(need: Need) -> str:
    """The nearest that a model comes to fitting."""
    wish = need.wish
    where = f"with {sizes(need.cut)} on {need.pool.gpu.id} each GPU"
    if need.pool.mig_profile is not None:
        where = f"a {_thing(need.pool)}"
    return (
        f"{wish.model.title} in {precisions(wish)} does not fit for {wish.concurrency} sequences of {wish.context}"
        f" tokens: {where} lacks {size_text(need.shortfall)}"
    )


def no_gpu(wish: Wish, inventory: Inventory) -> str:
    """Why no node of the cluster is one that the wish allows."""
    if not inventory.pools:
        return f"{wish.model.id} needs GPUs, and the cluster has none that are labelled by GPU feature discovery"
    wanted = "whole GPUs" if wish.mig_profile is None else f"parts of profile {wish.mig_profile}"
    product = "" if wish.gpu is None else f" of {wish.gpu}"
    claim = (
        ", counted as a resource" if wish.device_class is None else f" that device class {wish.device_class} can give"
    )
    return f"the cluster has no {wanted}{product}{claim}; it has {sizes_of(inventory.pools)}"


def sizes_of(pools: Sequence[NodePool]) -> str:
    """Pools for people: `2 nodes of 8 H100-80, 1 node of 14 3g.40gb parts of A100-80`."""
    return ", ".join(_pool(pool) for pool in pools)


def _pool(pool: NodePool) -> str:
    nodes = "1 node" if pool.nodes == 1 else f"{pool.nodes} nodes"
    what = pool.gpu.id if pool.mig_profile is None else f"{pool.mig_profile} parts of {pool.gpu.id}"
    return f"{nodes} of {pool.gpus_per_node} {what}{' (by claim)' if pool.claimed else ''}"


def precisions(wish: Wish) -> str:
    """`fp8`, or `fp8 with a cache in fp8` where that is asked for too."""
    plain = wish.kv_bytes == memory.WIDE
    return wish.precision if plain else f"{wish.precision} with a cache in {wish.kv_precision}"


def memory_bar(use: MemoryUse, *, width: int = 40) -> str:
    """One GPU's memory as a bar: W weights, K cache, A activations, R runtime, `.` free."""
    cells = ""
    for letter, size in (("W", use.weights), ("K", use.kv_cache), ("A", use.activations), ("R", use.runtime)):
        cells += letter * min(width, max(1, round(size / use.total * width))) if size else ""
    return f"[{cells[:width]:.<{width}}]"


def sizes(cut: Cut) -> str:
    """`TP8` or `TP8 x PP2`."""
    return f"TP{cut.tensor}" if cut.pipeline == 1 else f"TP{cut.tensor} x PP{cut.pipeline}"
