"""How much memory a model takes: weights, key-value cache, activations, runtime.

The constants are one table. Those marked *assumed* have no published source: they are set on the safe side and are to
be replaced by measured figures.
"""

from dataclasses import dataclass

from paddock_core.catalog.types import Dimensions, ModelEntry

MIB = 1024**2
GIB = 1024**3


@dataclass(frozen=True, slots=True, kw_only=True)
class Constants:
    """Reserves of the planner."""

    cache_fraction: float = 0.9
    """Part of what is left after loading that is cache: TensorRT-LLM's `free_gpu_memory_fraction`, default 0.9."""
    gpu_runtime: int = 2 * GIB
    """CUDA context, libraries and communication buffers of each GPU. Assumed."""
    max_batched_tokens: int = 8192
    """Tokens that the engine handles in one step: TensorRT-LLM's `max_num_tokens`, default 8192."""
    activation_copies: int = 4
    """Hidden-state buffers that are alive at once in a step. Assumed."""
    default_context: int = 8192
    """Context when none is asked for: most chats are shorter, and a full 131072 would cost 16 times the cache."""
    gpu_concurrency: int = 16
    """Sequences at once on GPUs when none are asked for."""
    cpu_concurrency: int = 4
    """Sequences at once on a CPU when none are asked for."""
    cpu_process: int = 400 * MIB
    """tritonserver and the Python process without the model: 38 MB and 123 MB were measured; the rest is head-room."""
    cpu_compute_fraction: float = 0.15
    """llama.cpp's compute buffers, as a part of the weights. Assumed."""
    cpu_millicores_per_billion: int = 1000
    """CPU request for each billion parameters. Assumed; bounded by the two below."""
    cpu_millicores_min: int = 250
    cpu_millicores_max: int = 16000
    gpu_host_memory_fraction: float = 0.25
    """Host memory of a GPU pod, as a part of the weights it loads (page cache is not counted). Assumed."""
    gpu_host_memory_min: int = 16 * GIB
    gpu_millicores_per_gpu: int = 4000


CONSTANTS = Constants()

BYTES_OF_KV = 2
"""The cache is kept in 16 bits, whatever the weights' precision."""

MIN_CAPABILITY = {"fp8": 89, "nvfp4": 100}
"""Lowest compute capability by precision (8.9 is Ada, 9.0 Hopper, 10.0 Blackwell)."""


def kv_bytes_per_token(dimensions: Dimensions) -> int:
    """Bytes of cache for one token of one sequence: keys and values of every layer."""
    return 2 * dimensions.layers * dimensions.kv_heads * dimensions.head_dim * BYTES_OF_KV


def kv_bytes_per_gpu_token(dimensions: Dimensions, *, tensor: int, pipeline: int) -> int:
    """Bytes of cache for one token on the fullest GPU: key-value heads are divided, or replicated when too few."""
    layers = -(-dimensions.layers // pipeline)
    heads = max(1, dimensions.kv_heads // tensor)
    return 2 * layers * heads * dimensions.head_dim * BYTES_OF_KV


def weights_bytes_per_gpu(weights: int, *, tensor: int, pipeline: int) -> int:
    """Weights on each GPU. Norms are replicated, which is far below the reserve."""
    return -(-weights // (tensor * pipeline))


def activation_bytes(dimensions: Dimensions, *, tensor: int, concurrency: int) -> int:
    """Buffers of one step on each GPU: hidden states, the feed-forward's share, 32-bit logits for each sequence."""
    tokens = CONSTANTS.max_batched_tokens
    hidden = CONSTANTS.activation_copies * tokens * dimensions.hidden * 2
    feed_forward = 2 * tokens * (dimensions.ffn // tensor) * 2
    logits = concurrency * dimensions.vocab * 4
    return hidden + feed_forward + logits


def cpu_request(model: ModelEntry) -> int:
    """CPU request of a llama.cpp pod in thousandths of a core."""
    asked = round(model.parameters / 1e9 * CONSTANTS.cpu_millicores_per_billion)
    return min(max(asked, CONSTANTS.cpu_millicores_min), CONSTANTS.cpu_millicores_max)
