"""A plan in words."""

from paddock_core.catalog.types import ModelEntry
from paddock_core.planning.cut import Cut
from paddock_core.planning.memory import GIB, MIB
from paddock_core.planning.types import MemoryUse, Plan


def gib(size: int) -> str:
    """Bytes for people: GiB from one GiB on, else MiB."""
    return f"{size / GIB:.1f} GiB" if abs(size) >= GIB else f"{size / MIB:.0f} MiB"


def gpu_plan(model: ModelEntry, plan: Plan, *, smaller: tuple[Cut, int] | None) -> str:
    """Why a model is cut this way. `smaller` is the next smaller cut and what it lacks on each GPU."""
    parts = [
        f"{model.title} in {plan.precision}: {gib(plan.weights_bytes)} of weights.",
        _shape(plan),
        _per_gpu(plan),
        f"In all {plan.kv_tokens} tokens of cache fit.",
    ]
    if smaller is not None:
        cut, missing = smaller
        parts.append(
            f"{_sizes(cut)} would lack {gib(missing)} on each GPU." if missing > 0 else f"{_sizes(cut)} fits too."
        )
    return " ".join(parts)


def _per_gpu(plan: Plan) -> str:
    use = plan.per_gpu
    return (
        f"Each GPU holds {gib(use.weights)} of weights, {gib(use.kv_cache)} of cache for {plan.max_concurrency}"
        f" sequences of {plan.context_length} tokens, and {gib(use.activations + use.runtime)} of activations and"
        f" runtime, of {gib(use.total)}."
    )


def _shape(plan: Plan) -> str:
    if plan.gpus == 1:
        return f"It fits one {plan.gpu}, so it is not cut."
    tensor = f"Tensor parallelism {plan.tensor_parallel} inside each node of {plan.gpu}"
    if plan.pipeline_parallel == 1:
        return f"{tensor}: {plan.gpus} GPUs in one pod."
    where = f"across {plan.pods_per_group} nodes" if plan.pods_per_group > 1 else "inside the same node"
    return f"{tensor}, pipeline parallelism {plan.pipeline_parallel} {where}: {plan.gpus} GPUs."


def cpu_plan(model: ModelEntry, plan: Plan) -> str:
    """What a CPU pod needs."""
    use = plan.per_gpu
    return (
        f"{model.title} in {plan.precision} runs on CPU in one pod: {gib(use.weights)} of weights,"
        f" {gib(use.kv_cache)} of cache for {plan.max_concurrency} sequences of {plan.context_length} tokens,"
        f" {gib(use.activations + use.runtime)} for buffers and the process; it requests {gib(plan.memory_bytes)}"
        f" and {plan.cpu_millicores / 1000:g} CPU."
    )


def does_not_fit(model: ModelEntry, *, precision: str, cut: Cut, gpu: str, missing: int) -> str:
    """The nearest that a model comes to fitting."""
    return f"{model.title} in {precision} does not fit: with {_sizes(cut)} on {gpu} each GPU lacks {gib(missing)}"


def memory_bar(use: MemoryUse, *, width: int = 40) -> str:
    """One GPU's memory as a bar: W weights, K cache, A activations, R runtime, `.` free."""
    cells = ""
    for letter, size in (("W", use.weights), ("K", use.kv_cache), ("A", use.activations), ("R", use.runtime)):
        cells += letter * min(width, max(1, round(size / use.total * width))) if size else ""
    return f"[{cells[:width]:.<{width}}]"


def _sizes(cut: Cut) -> str:
    return f"TP{cut.tensor}" if cut.pipeline == 1 else f"TP{cut.tensor} x PP{cut.pipeline}"
