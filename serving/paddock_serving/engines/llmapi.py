"""TensorRT-LLM's LLM API (PyTorch backend): safetensors folders on NVIDIA GPUs.

Not yet run on a GPU. Written against the published signatures, which `tests/serving/tensorrt_llm_signatures.py` records
with their sources and a test compares with every call made here.
"""

import asyncio
import os
import threading
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, Final

from paddock_serving.engines.base import EngineConfig, Generation, Sink
from paddock_serving.errors import EngineError
from paddock_serving.text import showable

_MPI_PREFIXES: Final = ("OMPI_COMM_", "OMPI_UNIVERSE_", "OMPI_FIRST_", "OMPI_MCA_orte_", "ORTE_", "PMIX_", "PMI_")
_GREEDY_TOP_K: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """The two classes of tensorrt_llm that are used; imported late, since the import claims GPUs."""

    llm: Callable[..., Any]
    sampling_params: Callable[..., Any]


class LlmApi:
    """An Engine on `tensorrt_llm.LLM`: every request is a task on one event loop; the library does the batching."""

    def __init__(self, *, library: Library, arguments: dict[str, Any], context_length: int) -> None:
        self._library = library
        self._context_length = context_length
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="llmapi", daemon=True)
        self._thread.start()
        self._llm = asyncio.run_coroutine_threadsafe(self._load(arguments), self._loop).result()

    def submit(self, generation: Generation, sink: Sink) -> None:
        """Schedule the generation on the engine's loop."""
        asyncio.run_coroutine_threadsafe(self._run(generation, sink), self._loop)

    def close(self) -> None:
        """Shut the library down, then the loop."""
        self._llm.shutdown()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    def _prompt(self, generation: Generation) -> list[int]:
        if generation.prompt_ids is not None:
            return list(generation.prompt_ids)
        return list(self._llm.tokenizer.encode(generation.prompt_text))

    async def _load(self, arguments: dict[str, Any]) -> Any:
        return await asyncio.to_thread(lambda: self._library.llm(**arguments))

    async def _run(self, generation: Generation, sink: Sink) -> None:
        try:
            prompt = self._prompt(generation)
            arguments = sampling_arguments(generation, room=self._context_length - len(prompt))
            result = self._llm.generate_async(
                inputs=prompt, sampling_params=self._library.sampling_params(**arguments), streaming=True
            )

            def abort() -> None:
                self._loop.call_soon_threadsafe(result.abort)

            sink.on_cancel(abort)
            progress = _Progress(sink=sink, stop=generation.stop, abort=result.abort)
            async for output in result:
                if progress.receive(output):
                    return
            progress.close()
        except ValueError as error:
            sink.fail(f"TensorRT-LLM refuses the request: {error}", client_fault=True)
        except Exception as error:  # noqa: BLE001 - whatever the engine raises must end this request, not the loop
            sink.fail(f"TensorRT-LLM failed: {error}", client_fault=False)


class _Progress:
    """Turns the library's cumulative outputs into deltas.

    Stop words are asked for with `include_stop_str_in_output`: without it the library cuts their tokens off
    `token_ids`, and the count would be too small. They are cut off the text here instead.
    """

    def __init__(self, *, sink: Sink, stop: tuple[str, ...], abort: Callable[[], None]) -> None:
        self._sink = sink
        self._stop = stop
        self._abort = abort
        self._shown = 0
        self._counted = 0
        self._total = 0
        self._prompt_told = False

    def receive(self, output: Any) -> bool:
        """Take the state so far; true if the request has ended."""
        if not self._prompt_told:
            self._prompt_told = True
            self._sink.prompt(len(output.prompt_token_ids))
        sequence = output.outputs[0]
        self._total = max(self._total, len(sequence.token_ids))
        shown = showable(sequence.text, stop=self._stop, complete=output.finished)
        text = sequence.text[self._shown : shown.length]
        if shown.stopped and not output.finished:
            self._abort()
        if output.finished or shown.stopped:
            reason = "stop" if shown.stopped else _reason(sequence.finish_reason)
            self._sink.finish(reason, text=text, tokens=self._total - self._counted)
            return True
        if text:
            self._shown = shown.length
            self._sink.delta(text, self._total - self._counted)
            self._counted = self._total
        return False

    def close(self) -> None:
        """The library has nothing more to say although no output was marked as the last."""
        self._sink.finish("cancelled", tokens=self._total - self._counted)


def _reason(finish_reason: str | None) -> str:
    """The contract's word for the library's. A time-out inside the engine is a cancellation to the client."""
    return finish_reason if finish_reason in ("stop", "length") else "cancelled"


def sampling_arguments(generation: Generation, *, room: int) -> dict[str, Any]:
    """The arguments of SamplingParams; `room` is what the context holds beside the prompt, in tokens.

    The library has no temperature 0: greedy is the single best token. Its own default of 32 tokens is never used.
    Raises ValueError if there is no room for an answer.
    """
    if room < 1:
        raise ValueError("the prompt fills the whole context")
    greedy = generation.temperature == 0
    return {
        "max_tokens": room if generation.max_tokens is None else min(generation.max_tokens, room),
        "temperature": None if greedy else generation.temperature,
        "top_k": _GREEDY_TOP_K if greedy else (generation.top_k or None),
        "top_p": None if greedy else generation.top_p,
        "frequency_penalty": generation.frequency_penalty or None,
        "presence_penalty": generation.presence_penalty or None,
        "seed": generation.seed,
        "stop": list(generation.stop) or None,
        "include_stop_str_in_output": True,
    }


def llm_arguments(config: EngineConfig) -> dict[str, Any]:
    """The arguments of LLM: the plan's figures by the library's names, and whatever else model.yaml holds."""
    return {
        "model": str(config.model),
        "max_seq_len": config.context_length,
        "max_batch_size": config.max_concurrency,
        **config.arguments,
    }


def clear_mpi(environment: MutableMapping[str, str]) -> None:
    """Forget the MPI job that this process was started in, if any: the library starts one of its own."""
    for name in [name for name in environment if name.startswith(_MPI_PREFIXES)]:
        del environment[name]


def create(config: EngineConfig) -> LlmApi:
    """Load the model. Raises EngineError if TensorRT-LLM is not in this image or cannot load it."""
    clear_mpi(os.environ)
    try:
        import tensorrt_llm
    except ImportError as error:
        raise EngineError(
            f"TensorRT-LLM is not in this image ({error}): use an image tritonserver:<version>-trtllm-python-py3"
        ) from error
    library = Library(llm=tensorrt_llm.LLM, sampling_params=tensorrt_llm.SamplingParams)
    try:
        return LlmApi(library=library, arguments=llm_arguments(config), context_length=config.context_length)
    except Exception as error:
        raise EngineError(f"TensorRT-LLM cannot load {config.model}: {error}") from error
