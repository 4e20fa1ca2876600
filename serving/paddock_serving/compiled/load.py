"""Load an engine and generate with it.

    python3 -m paddock_serving.compiled.load ENGINE WEIGHTS TENSOR PIPELINE CONTEXT

Runs in the image's own Python, where TensorRT-LLM is, and so needs nothing else of this package's dependencies than
the model in Triton does.
"""

import sys
from pathlib import Path
from typing import Final

from paddock_serving.engines import tensorrt
from paddock_serving.engines.base import EngineConfig, Generation
from paddock_serving.gpu_check import Collected

_SECONDS: Final = 300.0
_TOKENS: Final = 8


def verify(*, engine: Path, weights: Path, tensor: int, pipeline: int, context_length: int) -> None:
    """Raises EngineError if the engine cannot be loaded, RuntimeError if it does not generate what it was asked for."""
    config = EngineConfig(
        engine="tensorrt",
        model=engine,
        context_length=context_length,
        max_concurrency=1,
        arguments={
            "tokenizer": str(weights),
            "tensor_parallel_size": tensor,
            "pipeline_parallel_size": pipeline,
        },
    )
    running = tensorrt.create(config)
    try:
        sink = Collected()
        running.submit(Generation(id="verify", prompt_text="The capital of France is", max_tokens=_TOKENS), sink)
        if not sink.ended.wait(_SECONDS):
            raise RuntimeError(f"the engine generated nothing within {_SECONDS:g} s")
        if sink.reason not in ("stop", "length") or not 1 <= sink.output_tokens <= _TOKENS:
            raise RuntimeError(f"the engine ended with {sink.reason!r} after {sink.output_tokens} tokens")
    finally:
        running.close()


def main() -> None:
    """Verify the engine that the command line names."""
    engine, weights, tensor, pipeline, context = sys.argv[1:6]
    verify(
        engine=Path(engine),
        weights=Path(weights),
        tensor=int(tensor),
        pipeline=int(pipeline),
        context_length=int(context),
    )


if __name__ == "__main__":
    main()
