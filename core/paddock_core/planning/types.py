"""What the fit planner is asked, and what it answers. Sizes are bytes unless the name says otherwise."""

from dataclasses import dataclass
from enum import StrEnum

GPU_RESOURCE = "nvidia.com/gpu"


class Engine(StrEnum):
    """What runs a model."""

    LLMAPI = "LLMAPI"
    """TensorRT-LLM's LLM API, on GPUs."""
    TENSORRT_ENGINE = "TensorRTEngine"
    """A compiled TensorRT engine, on GPUs; only containers up to 26.07 run it."""
    LLAMA_CPP = "LlamaCpp"
    """llama.cpp, on CPUs."""


class RefusalReason(StrEnum):
    """Stable reasons why there is no plan."""

    ENGINE_UNKNOWN = "EngineUnknown"
    ENGINE_CANNOT_LOAD = "EngineCannotLoad"
    PRECISION_UNKNOWN = "PrecisionUnknown"
    PRECISION_UNSUPPORTED = "PrecisionUnsupported"
    KV_PRECISION_UNKNOWN = "KvPrecisionUnknown"
    OUT_OF_RANGE = "OutOfRange"
    CONTEXT_TOO_LONG = "ContextTooLong"
    INVALID_PARALLELISM = "InvalidParallelism"
    NO_GPU = "NoGPU"
    MIG_PROFILE_UNKNOWN = "MIGProfileUnknown"
    DEVICE_CLASS_UNKNOWN = "DeviceClassUnknown"
    DOES_NOT_FIT = "DoesNotFit"


@dataclass(frozen=True, slots=True, kw_only=True)
class MigProfile:
    """A kind of part that a GPU can be cut into."""

    name: str
    """As `3g.40gb`."""
    memory: int
    most: int
    """How many of it one GPU can be cut into."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """A GPU product."""

    id: str
    memory: int
    compute_capability: int
    """Major times ten plus minor: 90 is 9.0."""
    nvlink: bool
    """True where every pair of a server's GPUs is joined by NVLink."""
    products: tuple[str, ...] = ()
    per_node: int = 8
    mig: tuple["MigProfile", ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePool:
    """Equal nodes."""

    gpu: Gpu
    """With the part's memory, where the GPUs are cut into parts."""
    gpus_per_node: int
    """GPUs, or parts of them."""
    nodes: int
    resource: str = GPU_RESOURCE
    mig_profile: str | None = None
    claimed: bool = False
    """True where the GPUs are not counted as a resource and can only be claimed from a device class."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """The GPUs of a cluster. Whether they are free now is the scheduler's question, not the planner's."""

    pools: tuple[NodePool, ...] = ()
    device_classes: tuple[str, ...] | None = None
    """Names of the cluster's device classes; None where they were not looked up."""
    left_out: int = 0
    """Nodes with GPUs that are not among them, since the deployment's pods could not run there now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What a deployment wants. None leaves the choice to the planner."""

    engine: str | None = None
    precision: str | None = None
    context_length: int | None = None
    max_concurrency: int | None = None
    tensor: int | None = None
    pipeline: int | None = None
    kv_precision: str | None = None
    """Precision of the key-value cache: bf16 or fp8."""
    gpu: str | None = None
    """Only this GPU product, by its id in gpus.yaml."""
    mig_profile: str | None = None
    """Only parts of this profile, as `3g.40gb`."""
    device_class: str | None = None
    """GPUs are claimed from this device class (dynamic resource allocation) instead of counted as a resource."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryUse:
    """One GPU's memory (or, on a CPU, the process's), by what holds it. `free` is what is left for more cache."""

    total: int
    weights: int
    kv_cache: int
    activations: int
    runtime: int

    @property
    def free(self) -> int:
        return self.total - self.weights - self.kv_cache - self.activations - self.runtime


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a model is cut and what each pod needs."""

    engine: Engine
    precision: str
    tensor_parallel: int
    pipeline_parallel: int
    gpu: str | None
    """Id of the GPU product, None on a CPU."""
    gpu_products: tuple[str, ...]
    """Values of the node label nvidia.com/gpu.product on which it may run."""
    gpus_per_pod: int
    pods_per_group: int
    context_length: int
    max_concurrency: int
    kv_tokens: int
    """Tokens that the cache of one copy can hold."""
    weights_bytes: int
    kv_cache_bytes: int
    """Cache for `context_length * max_concurrency` tokens, of one copy."""
    per_gpu: MemoryUse
    cpu_millicores: int
    memory_bytes: int
    """Host memory that each pod requests."""
    explanation: str
    kv_precision: str = "bf16"
    max_batch_size: int = 1
    """Sequences that the engine handles at once."""
    max_num_tokens: int = 8192
    """Tokens that the engine handles in one step; a longer prompt goes through in pieces (`chunked_prefill`)."""
    max_sequences: int = 0
    """Sequences at the full context that the cache holds."""
    resource: str = GPU_RESOURCE
    """What a pod asks Kubernetes for: whole GPUs, or parts of one MIG profile."""
    device_class: str | None = None
    """The device class that GPUs are claimed from, None where they are counted as `resource`."""
    mig_profile: str | None = None
    """The profile of the part that it runs on, None on whole GPUs."""
    checkpoint: str | None = None
    """The model's weights that are loaded, where they are not in `precision` itself: the engine casts or quantizes."""

    @property
    def gpus(self) -> int:
        """GPUs of one copy of the model."""
        return self.gpus_per_pod * self.pods_per_group

    @property
    def weights(self) -> str:
        """Key of the model's weights that are loaded."""
        return self.checkpoint or self.precision

    @property
    def chunked_prefill(self) -> bool:
        """True where a prompt can be longer than what the engine handles in one step."""
        return self.context_length > self.max_num_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why there is no plan, what is short, and what would work instead."""

    reason: RefusalReason
    message: str
    shortfall_bytes: int = 0
    """For each GPU."""
    alternatives: tuple[str, ...] = ()
