"""How much memory a model takes: weights, key-value cache, activations. Sizes are bytes of the fullest GPU."""

from paddock_core.catalog.types import Dimensions, ModelEntry
from paddock_core.planning.constants import GIB as GIB
from paddock_core.planning.constants import MIB as MIB
from paddock_core.planning.constants import Constants

WIDE = 2
"""Bytes of what is never quantized: embeddings, output projection, norms, encoders of images, activations."""


def weights_from_parameters(model: ModelEntry, *, bytes_each: float) -> int:
    """Size of a checkpoint whose layers' matrices take `bytes_each` a parameter and whose rest stays in 16 bits."""
    matrices = min(model.dimensions.matrix_parameters(), model.parameters)
    return round(matrices * bytes_each) + (model.parameters - matrices) * WIDE


def weights_per_gpu(model: ModelEntry, *, weights: int, tensor: int, pipeline: int, constants: Constants) -> int:
    """Weights on the fullest GPU, as loaded.

    With a pipeline, the fullest stage has the most layers and one of the ends (embedding with an encoder of images, or
    output projection). Key-value projections are replicated where the tensor size exceeds the key-value heads.
    """
    dims = model.dimensions
    layers = dims.layers + dims.image_layers
    ends = [dims.vocab * dims.hidden * WIDE + dims.beside * WIDE, dims.vocab * dims.hidden * WIDE]
    shared = ends[:1] if dims.tied_embeddings else ends
    body = max(weights - sum(shared), 0)
    whole = weights if pipeline == 1 else -(-body * -(-layers // pipeline) // layers) + max(ends)
    copies = max(tensor // dims.kv_heads - 1, 0)
    narrow = -(-layers // pipeline) * 2 * dims.hidden * dims.kv_heads * dims.head_dim * WIDE
    return -(-round((whole + copies * narrow) * constants.weights_factor) // tensor)


def kv_bytes_per_token(dimensions: Dimensions, *, bytes_each: int = WIDE) -> int:
    """Bytes of cache for one token of one sequence: keys and values of every layer."""
    return 2 * dimensions.layers * dimensions.kv_heads * dimensions.head_dim * bytes_each


def kv_bytes_per_gpu_token(dimensions: Dimensions, *, tensor: int, pipeline: int, bytes_each: int = WIDE) -> int:
    """Bytes of cache for one token on the fullest GPU: key-value heads are divided, or replicated when too few."""
    heads = max(1, dimensions.kv_heads // tensor)
    return 2 * -(-dimensions.layers // pipeline) * heads * dimensions.head_dim * bytes_each


def image_bytes_per_gpu_sequence(dimensions: Dimensions, *, tensor: int, pipeline: int) -> int:
    """Bytes of cache of the layers that attend to an image: one image of full size for each sequence, in 16 bits."""
    heads = max(1, dimensions.kv_heads // tensor)
    layers = -(-dimensions.image_layers // pipeline)
    return 2 * layers * heads * dimensions.head_dim * WIDE * dimensions.image_tokens


def activation_bytes(dimensions: Dimensions, *, tensor: int, batch: int, constants: Constants) -> int:
    """Buffers of one step on each GPU: hidden states, the feed-forward's share, 32-bit logits for each sequence."""
    return (
        round(constants.activation_copies * hidden_state_bytes(dimensions, constants=constants))
        + 2 * constants.max_batched_tokens * -(-_width(dimensions) // tensor) * WIDE
        + batch * dimensions.vocab * 4
    )


def hidden_state_bytes(dimensions: Dimensions, *, constants: Constants) -> int:
    """One buffer of hidden states of a whole step."""
    return constants.max_batched_tokens * dimensions.hidden * WIDE


def _width(dimensions: Dimensions) -> int:
    """Widest feed-forward output of a token: with experts, one routed and the shared one, or the dense layers'."""
    experts = dimensions.experts
    return dimensions.ffn if experts is None else max(2 * dimensions.ffn, experts.dense_ffn)


def cpu_request(model: ModelEntry, *, constants: Constants) -> int:
    """CPU request of a llama.cpp pod in thousandths of a core."""
    asked = round(model.parameters / 1e9 * constants.cpu_millicores_per_billion)
    return min(max(asked, constants.cpu_millicores_min), constants.cpu_millicores_max)
