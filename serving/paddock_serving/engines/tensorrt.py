"""Compiled TensorRT engines, through the same LLM API: for images up to 26.07, whose TensorRT-LLM still loads them.

Not yet run on a GPU. Written against the published signatures, which `tests/serving/tensorrt_llm_signatures.yaml`
records with their sources. Requests, counts and cancellation are those of the engine `llmapi`.
"""

import os
from typing import Any, Final

from paddock_serving.engines.base import EngineConfig
from paddock_serving.engines.llmapi import Library, LlmApi, clear_mpi
from paddock_serving.errors import EngineError

_ARGUMENTS: Final = ("tokenizer", "tensor_parallel_size", "pipeline_parallel_size", "gpus_per_node", "kv_cache_config")
"""What of model.yaml this class takes; limits and precisions are in the engine itself."""


def llm_arguments(config: EngineConfig) -> dict[str, Any]:
    """The arguments of LLM: where the engine and the tokenizer are, and how the engine is cut."""
    given = {name: config.arguments[name] for name in _ARGUMENTS if name in config.arguments}
    return {"model": str(config.model), **given}


def create(config: EngineConfig) -> LlmApi:
    """Load the engine. Raises EngineError if this image cannot, or if the engine is not there."""
    clear_mpi(os.environ)
    try:
        import tensorrt_llm
        from tensorrt_llm._tensorrt_engine import LLM
    except ImportError as error:
        raise EngineError(f"this image loads no compiled engines ({error}): `paddock images` lists which do") from error
    library = Library(llm=LLM, sampling_params=tensorrt_llm.SamplingParams)
    try:
        return LlmApi(library=library, arguments=llm_arguments(config), context_length=config.context_length)
    except Exception as error:
        raise EngineError(f"TensorRT-LLM cannot load the engine {config.model}: {error}") from error
