"""The ways in which a model can be cut over a pool of equal nodes."""

from collections.abc import Iterator
from dataclasses import dataclass

from paddock_core.catalog.types import ModelEntry
from paddock_core.planning.types import NodePool


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """Tensor and pipeline sizes, and how the pipeline's stages are spread over pods."""

    tensor: int
    pipeline: int
    stages_per_pod: int

    @property
    def gpus(self) -> int:
        return self.tensor * self.pipeline

    @property
    def pods(self) -> int:
        return self.pipeline // self.stages_per_pod


def invalid_tensor(model: ModelEntry, tensor: int) -> str | None:
    """Why this model cannot be cut into `tensor` parts, or None if it can."""
    dimensions = model.dimensions
    if dimensions.heads % tensor:
        return f"tensor {tensor} does not divide the {dimensions.heads} attention heads of {model.id}"
    if dimensions.kv_heads % tensor and tensor % dimensions.kv_heads:
        return f"tensor {tensor} neither divides nor multiplies the {dimensions.kv_heads} key-value heads of {model.id}"
    if tensor > model.max_tensor_parallel:
        return f"tensor {tensor} is more than the {model.max_tensor_parallel} that {model.id} was checked with"
    return None


def cuts(model: ModelEntry, pool: NodePool, *, tensor: int | None, pipeline: int | None) -> Iterator[Cut]:
    """Every cut that the rules allow on a pool.

    Tensor sizes are powers of two (or the one asked for) within a node. A pipeline is made only when asked for, or of
    stages of the largest tensor size that a node holds. Parts of GPUs are never joined.
    """
    if pool.gpus_per_node < 1 or pool.nodes < 1:
        return
    limit = pool.gpus_per_node if pool.mig_profile is None else 1
    powers = [size for size in _powers_of_two(limit) if invalid_tensor(model, size) is None]
    sizes = powers if tensor is None else [tensor] if tensor <= limit else []
    for size in sizes:
        most = min(_most_stages(pool, size), model.dimensions.layers) if size == max(powers) else 1
        for stages in range(1, most + 1) if pipeline is None else (pipeline,):
            cut = _spread(pool, tensor=size, pipeline=stages)
            joined = pool.mig_profile is not None and cut.gpus > 1
            if stages <= model.dimensions.layers and cut.pods <= pool.nodes and not joined:
                yield cut


def _most_stages(pool: NodePool, tensor: int) -> int:
    """Stages that the whole pool has GPUs for."""
    return pool.nodes * (pool.gpus_per_node // tensor) if pool.mig_profile is None else 1


def _spread(pool: NodePool, *, tensor: int, pipeline: int) -> Cut:
    """Put as many whole stages into a pod as a node has GPUs for, evenly."""
    room = min(pool.gpus_per_node // tensor, pipeline)
    stages = max(count for count in range(1, room + 1) if pipeline % count == 0)
    return Cut(tensor=tensor, pipeline=pipeline, stages_per_pod=stages)


def _powers_of_two(limit: int) -> Iterator[int]:
    size = 1
    while size <= limit:
        yield size
        size *= 2
