"""What one cut of a model needs of each GPU of a pool, and what then fits. Sizes are bytes of the fullest GPU."""

from dataclasses import dataclass

from paddock_core.planning import memory
from paddock_core.planning.cut import Cut
from paddock_core.planning.types import MemoryUse, NodePool
from paddock_core.planning.wish import Wish


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """A wish, cut in one way, on one pool."""

    wish: Wish
    cut: Cut
    pool: NodePool
    use: MemoryUse
    for_cache: int
    """What the engine makes cache of; negative where not even weights and buffers fit."""
    per_token: int
    """Cache of one token."""
    per_image: int
    """Cache of one sequence's image."""

    @property
    def shortfall(self) -> int:
        """What is missing; 0 or less when it fits."""
        return self.use.kv_cache - self.for_cache

    @property
    def sequences(self) -> int:
        """Sequences at the full context that fit."""
        return max(self.for_cache, 0) // (self.use.kv_cache // self.wish.concurrency)

    @property
    def kv_tokens(self) -> int:
        """Tokens that fit, whatever sequences they belong to."""
        images = self.per_image * min(self.sequences, self.wish.constants.max_batch)
        return max(self.for_cache - images, 0) // self.per_token

    @property
    def kv_of_copy(self) -> int:
        """Cache of the asked sequences over all GPUs, replicated heads not counted."""
        dimensions = self.wish.model.dimensions
        text = memory.kv_bytes_per_token(dimensions, bytes_each=self.wish.kv_bytes) * self.wish.context
        image = memory.image_bytes_per_gpu_sequence(dimensions, tensor=1, pipeline=1)
        return (text + image) * self.wish.concurrency


def need_of(wish: Wish, cut: Cut, pool: NodePool) -> Need:
    """What each GPU would hold."""
    constants, dimensions = wish.constants, wish.model.dimensions
    weights = memory.weights_per_gpu(
        wish.model, weights=wish.weights, tensor=cut.tensor, pipeline=cut.pipeline, constants=constants
    )
    batch = wish.batch or max(constants.max_batch, wish.concurrency)
    activations = memory.activation_bytes(dimensions, tensor=cut.tensor, batch=batch, constants=constants)
    runtime = constants.gpu_runtime + (constants.gpu_communication if cut.gpus > 1 else 0)
    per_token = memory.kv_bytes_per_gpu_token(
        dimensions, tensor=cut.tensor, pipeline=cut.pipeline, bytes_each=wish.kv_bytes
    )
    per_image = memory.image_bytes_per_gpu_sequence(dimensions, tensor=cut.tensor, pipeline=cut.pipeline)
    blocks = -(-wish.context // constants.kv_block_tokens)
    left = pool.gpu.memory - weights - activations - runtime
    return Need(
        wish=wish,
        cut=cut,
        pool=pool,
        use=MemoryUse(
            total=pool.gpu.memory,
            weights=weights,
            kv_cache=(per_token * blocks * constants.kv_block_tokens + per_image) * wish.concurrency,
            activations=activations,
            runtime=runtime,
        ),
        for_cache=int(left * constants.cache_fraction) if left > 0 else left,
        per_token=per_token,
        per_image=per_image,
    )
