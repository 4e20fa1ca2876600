"""The Triton model repository of one deployment, rendered: `config.pbtxt`, `model.yaml` and `model.py`.

One leaf model, decoupled: through an ensemble a cancelled request would run on. `decoupled` stands in both files, since
Triton is started with --disable-auto-complete-config and then never asks the model for its configuration.
"""

import json
from dataclasses import dataclass
from functools import lru_cache

import yaml

from paddock_core.planning.constants import table
from paddock_core.planning.fit import CONSTANTS
from paddock_core.planning.types import Engine, Plan
from paddock_core.serving import contract

ENGINE_MODULES = {Engine.LLMAPI: "llmapi", Engine.TENSORRT_ENGINE: "tensorrt", Engine.LLAMA_CPP: "llamacpp"}
"""Name of the module in paddock_serving.engines."""

KV_TYPES = {"bf16": "auto", "fp16": "auto"}
"""TensorRT-LLM's word for a cache in 16 bits: the type that the weights compute in."""

VERSION_FOLDER = "1"


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of the leaf model; `many` means any number of elements, else exactly one."""

    name: str
    data_type: str
    many: bool = False


INPUTS = (
    Tensor(contract.INPUT_IDS, "TYPE_INT32", many=True),
    Tensor(contract.TEXT_INPUT, "TYPE_STRING", many=True),
    Tensor(contract.STREAMING, "TYPE_BOOL"),
    Tensor(contract.STOP, "TYPE_BOOL"),
    Tensor(contract.MAX_TOKENS, "TYPE_INT32"),
    Tensor(contract.TOP_K, "TYPE_INT32"),
    Tensor(contract.TEMPERATURE, "TYPE_FP32"),
    Tensor(contract.TOP_P, "TYPE_FP32"),
    Tensor(contract.FREQUENCY_PENALTY, "TYPE_FP32"),
    Tensor(contract.PRESENCE_PENALTY, "TYPE_FP32"),
    Tensor(contract.SEED, "TYPE_UINT64"),
    Tensor(contract.STOP_WORDS, "TYPE_STRING", many=True),
    # NVIDIA's llmapi repository has these too; a client written for it may send them.
    Tensor("sampling_param_best_of", "TYPE_INT32"),
    Tensor("sampling_param_exclude_input_from_output", "TYPE_BOOL"),
    Tensor("return_finish_reason", "TYPE_BOOL"),
    Tensor("return_num_input_tokens", "TYPE_BOOL"),
    Tensor("return_num_output_tokens", "TYPE_BOOL"),
)
OUTPUTS = (
    Tensor(contract.TEXT_OUTPUT, "TYPE_STRING", many=True),
    Tensor(contract.FINISH_REASON, "TYPE_STRING", many=True),
    Tensor(contract.NUM_INPUT_TOKENS, "TYPE_INT32"),
    Tensor(contract.NUM_OUTPUT_TOKENS, "TYPE_INT32"),
)


def config_pbtxt() -> str:
    """Triton's configuration of the leaf model, in protobuf's text form."""
    lines = [
        f'name: "{contract.MODEL_NAME}"',
        'backend: "python"',
        "max_batch_size: 0",
        "model_transaction_policy { decoupled: true }",
        "instance_group [ { count: 1 kind: KIND_CPU } ]",
    ]
    lines += [f"input [ {_tensor(tensor)} optional: true }} ]" for tensor in INPUTS]
    lines += [f"output [ {_tensor(tensor)} }} ]" for tensor in OUTPUTS]
    return "\n".join(lines) + "\n"


@lru_cache(maxsize=256)
def model_yaml(plan: Plan, *, model_path: str, tokenizer_path: str | None = None) -> str:
    """What `paddock_serving.model` reads beside itself: the engine and its figures, from the plan."""
    document: dict[str, object] = {
        "engine": ENGINE_MODULES[plan.engine],
        "model": model_path,
        "context_length": plan.context_length,
        "max_concurrency": plan.max_concurrency,
        "tensor_parallel_size": plan.tensor_parallel,
        "pipeline_parallel_size": plan.pipeline_parallel,
        "triton_config": {"max_batch_size": 0, "decoupled": True},
    }
    if tokenizer_path is not None:
        document["tokenizer"] = tokenizer_path
    if plan.engine is Engine.LLMAPI:
        document["backend"] = "pytorch"
    if plan.gpus_per_pod:
        document |= _library_arguments(plan)
    return yaml.safe_dump(document, sort_keys=True)


def _library_arguments(plan: Plan) -> dict[str, object]:
    """TensorRT-LLM's own names of what the plan says: the engine is held to it, so that it takes what was planned."""
    return {
        **_cast(plan),
        "max_batch_size": plan.max_batch_size,
        "max_num_tokens": plan.max_num_tokens,
        "max_seq_len": plan.context_length,
        "enable_chunked_prefill": plan.chunked_prefill,
        "gpus_per_node": plan.gpus_per_pod,
        "kv_cache_config": {
            "dtype": KV_TYPES.get(plan.kv_precision, plan.kv_precision),
            "free_gpu_memory_fraction": CONSTANTS.cache_fraction,
        },
    }


def _cast(plan: Plan) -> dict[str, str]:
    """The type to load weights into, where it is not the checkpoint's own. A compiled engine has it built in."""
    dtype = table().precisions[plan.precision].dtype if plan.checkpoint and plan.engine is Engine.LLMAPI else None
    return {} if dtype is None else {"dtype": dtype}


def model_py() -> str:
    """Triton's entry. Some interpreters ignore PYTHONPATH inside the Python backend, so the path is set here first."""
    return (
        "import os\n"
        "import sys\n\n"
        'sys.path[:0] = filter(None, os.environ.get("PADDOCK_SERVING_SITE_PACKAGES", "").split(os.pathsep))\n\n'
        "from paddock_serving.model import TritonPythonModel  # noqa: E402, F401\n"
    )


def repository_files(plan: Plan, *, model_path: str, tokenizer_path: str | None = None) -> dict[str, str]:
    """Every file of the model repository, by its path below the repository's folder. A compiled engine has its
    tokenizer elsewhere: beside the weights."""
    model = contract.MODEL_NAME
    return {
        f"{model}/config.pbtxt": config_pbtxt(),
        f"{model}/{VERSION_FOLDER}/model.yaml": model_yaml(plan, model_path=model_path, tokenizer_path=tokenizer_path),
        f"{model}/{VERSION_FOLDER}/model.py": model_py(),
    }


def _tensor(tensor: Tensor) -> str:
    dims = "-1" if tensor.many else "1"
    return f"{{ name: {json.dumps(tensor.name)} data_type: {tensor.data_type} dims: [ {dims} ]"
