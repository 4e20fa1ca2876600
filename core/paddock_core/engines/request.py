"""Everything that an engine depends on. Two engines have one key exactly if nothing of it differs."""

import hashlib
import json

import msgspec

from paddock_core.engines.errors import EngineRequestError


class EngineRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is asked for. Sizes are bytes, limits tokens unless the name says otherwise."""

    weights: str
    """Digest under which the weights lie on the volume: of every file, the tokenizer among them."""
    architecture: str
    """The model's, as in its configuration: each has a converter of its own."""
    checkpoint_precision: str
    """Precision of those weights."""
    precision: str
    kv_precision: str
    tensor_parallel: int
    pipeline_parallel: int
    context_parallel: int = 1
    image: str
    """The image that builds and runs it, with its digest."""
    tensorrt_llm: str
    tensorrt: str
    gpu: str
    """Id of the GPU product, and what of it a pod asks for: the whole, or a part."""
    gpu_memory: int
    compute_capability: int
    """Major times ten plus minor."""
    max_batch_size: int
    """Sequences at once."""
    max_num_tokens: int
    max_input_len: int
    max_seq_len: int
    max_beam_width: int = 1
    lora: bool = False
    speculative_decoding: str | None = None

    @property
    def world_size(self) -> int:
        """GPUs that it runs on."""
        return self.tensor_parallel * self.pipeline_parallel * self.context_parallel


CHECKPOINT_FIELDS = (
    "weights",
    "architecture",
    "checkpoint_precision",
    "precision",
    "kv_precision",
    "tensor_parallel",
    "pipeline_parallel",
    "context_parallel",
    "image",
    "tensorrt_llm",
)
"""What the converted checkpoint depends on: neither the GPU nor the build's limits."""


def checkpoint_key(request: EngineRequest, *, recipe: object) -> str:
    """Hex key of the converted checkpoint. `recipe` is what makes it, as JSON."""
    fields = {name: getattr(request, name) for name in CHECKPOINT_FIELDS}
    return _digest(["checkpoint", fields, recipe])


def engine_key(request: EngineRequest, *, recipe: object) -> str:
    """Hex key of the engine. `recipe` is all that makes it, as JSON."""
    return _digest(["engine", msgspec.to_builtins(request), recipe])


def encode(request: EngineRequest) -> str:
    """As JSON, for a Job's environment."""
    return msgspec.json.encode(request).decode()


def decode(text: str) -> EngineRequest:
    """From JSON. Raises EngineRequestError for what is none."""
    try:
        return msgspec.json.decode(text, type=EngineRequest)
    except msgspec.DecodeError as error:
        raise EngineRequestError(f"not a request for an engine ({error}): the operator writes it") from error


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
