"""What the gateway, the operator and the pods agree on about Triton.

One leaf model, decoupled, named `tensorrt_llm`; tensor names are those of NVIDIA's llmapi backend plus two counts,
so that an unmodified NVIDIA repository can still be driven (then the counts are absent).
"""

import hashlib
import hmac
from functools import lru_cache

MODEL_NAME = "tensorrt_llm"
HTTP_PORT = 8000
GRPC_PORT = 8001
METRICS_PORT = 8002
PROGRESS_PORT = 8003
"""Where the pod that fetches a model's weights tells how far it is."""
PROGRESS_PATH = "/progress"
CACHE_METRIC = "nv_trt_llm_kv_cache_block_metrics"
"""Family of gauges of the key-value cache, as TensorRT-LLM's own backend names it; the label says which gauge."""
CACHE_METRIC_LABEL = "kv_cache_block_type"
CACHE_USED_PART = "fraction"
"""The gauge of the used part of the cache, 0 to 1."""
NOT_AT_ONCE = 3
"""Exit status of a command for which the next try, at once, would come out the same."""

INPUT_IDS = "input_ids"
TEXT_INPUT = "text_input"
STREAMING = "streaming"
STOP = "stop"
"""True: end the request that has the same id, wait for its end, and answer its totals (the counts are then no deltas).
A request that ended within the last 15 minutes answers them too. An id that is not known is an error."""
MAX_TOKENS = "sampling_param_max_tokens"
TOP_K = "sampling_param_top_k"
TEMPERATURE = "sampling_param_temperature"
TOP_P = "sampling_param_top_p"
FREQUENCY_PENALTY = "sampling_param_frequency_penalty"
PRESENCE_PENALTY = "sampling_param_presence_penalty"
SEED = "sampling_param_seed"
STOP_WORDS = "sampling_param_stop"

TEXT_OUTPUT = "text_output"
FINISH_REASON = "finish_reason"
FINISH_STOP, FINISH_LENGTH = "stop", "length"
FINISH_CANCELLED = "cancelled"
"""Of an engine that stopped a request by itself, as when its pod is taken away."""
NUM_INPUT_TOKENS = "num_input_tokens"
NUM_OUTPUT_TOKENS = "num_output_tokens"
"""The number of tokens in this response alone (a delta); their sum is the request's output."""

SECRET_HEADER = "paddock-triton-secret"  # noqa: S105 - a header's name
"""Header that Triton's restricted APIs demand over HTTP; over gRPC it is prefixed `triton-grpc-protocol-`."""
RESTRICTED_APIS = (
    "inference",
    "metadata",
    "model-config",
    "model-repository",
    "shared-memory",
    "statistics",
    "trace",
    "logging",
)


@lru_cache(maxsize=4096)
def deployment_secret(*, platform_key: bytes, deployment_uid: str, rotation: int) -> str:
    """The secret that a deployment's Triton demands: derived, so that nobody has to distribute it.

    `HMAC-SHA256(platform_key, "triton:<uid>:<rotation>")` in hex, 64 characters.
    """
    message = f"triton:{deployment_uid}:{rotation}".encode()
    return hmac.new(platform_key, message, hashlib.sha256).hexdigest()
