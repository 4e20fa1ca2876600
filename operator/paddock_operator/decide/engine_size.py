"""What an engine Job needs: it holds the weights as they were published, however small the engine becomes.

Sources: NVIDIA's example for quantizing 70B to FP8 (141 GB of weights) names more than 210 GB of GPU memory at its
peak, and its converting Jobs of that size ask for 256 GiB of host memory. Both are taken in proportion to the weights.
"""

from dataclasses import dataclass

from paddock_core.catalog.types import ModelEntry
from paddock_core.engines.errors import EngineRequestError
from paddock_core.planning.types import Engine, Inventory, Plan

GIB = 1024**3
EXTRA_BYTES = 16 * GIB
"""Host memory beside the weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSize:
    """Sizes are bytes."""

    source_bytes: int
    """The checkpoint that is read."""
    memory_bytes: int
    """Host memory that is asked for."""
    gpus: int


def size_of(model: ModelEntry, plan: Plan, *, quantizes: bool, inventory: Inventory) -> JobSize:
    """What the Job of this plan needs. Raises EngineRequestError where no node of the plan's product holds it."""
    source = model.weights[plan.weights].bytes
    if not quantizes:
        return JobSize(source_bytes=source, memory_bytes=source + EXTRA_BYTES, gpus=plan.gpus_per_pod)
    needed = source + source // 2
    gpus = max(plan.gpus_per_pod, -(-needed // plan.per_gpu.total))
    most = _most_in_one_node(plan, inventory)
    if gpus > most:
        raise EngineRequestError(
            f"quantizing {source / GIB:.0f} GiB of weights takes about {needed / GIB:.0f} GiB of GPU memory in one"
            f" pod, which are {gpus} {plan.gpu}, and a node has {most} to give: choose GPUs with more memory, or"
            f" {Engine.LLMAPI.value} with weights that are published in {plan.precision}"
        )
    return JobSize(source_bytes=source, memory_bytes=2 * source + EXTRA_BYTES, gpus=gpus)


def _most_in_one_node(plan: Plan, inventory: Inventory) -> int:
    """GPUs of the plan's kind in the largest node. Of parts of a GPU one process sees a single one."""
    if plan.mig_profile is not None:
        return plan.gpus_per_pod
    alike = [pool for pool in inventory.pools if (pool.gpu.id, pool.resource) == (plan.gpu, plan.resource)]
    return max((pool.gpus_per_node for pool in alike if not pool.claimed), default=plan.gpus_per_pod)
