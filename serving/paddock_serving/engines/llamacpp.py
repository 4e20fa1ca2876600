"""llama.cpp, through the wheel xllamacpp: GGUF files on CPU or GPU, with continuous batching.

xllamacpp wraps llama.cpp's own HTTP server and starts its listener too. Nobody may reach the engine unmetered, so the
listener gets a socket file in a private folder, and a key that is thrown away.
"""

import contextlib
import secrets
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from paddock_serving.engines.base import EngineConfig, Generation, Sink
from paddock_serving.errors import EngineError

_BATCH: Final = 256
"""Prompt tokens that are evaluated between two looks at cancellations; also what a running answer waits for at most."""
_ERRORS_ONLY: Final = 1


class LlamaCpp:
    """An Engine on `xllamacpp.Server`: one thread for each running sequence, which only waits for callbacks."""

    def __init__(self, *, server: Any, private: Path, concurrency: int) -> None:
        self._server = server
        self._private = private
        self._pool = ThreadPoolExecutor(max_workers=concurrency, thread_name_prefix="sequence")

    def submit(self, generation: Generation, sink: Sink) -> None:
        """Queue the generation; it begins as soon as one of the engine's sequences is free."""
        future = self._pool.submit(self._run, generation, sink)

        def withdraw() -> None:
            if future.cancel():
                sink.finish("cancelled")

        sink.on_cancel(withdraw)

    def close(self) -> None:
        """Free the model and remove the private folder."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._server = None
        shutil.rmtree(self._private, ignore_errors=True)

    def _run(self, generation: Generation, sink: Sink) -> None:
        progress = _Progress(sink)
        try:
            self._server.handle_completions(_request(generation), progress.receive)
        except Exception as error:  # noqa: BLE001 - whatever the engine throws must end this request, not the thread
            progress.fail(f"llama.cpp failed: {error}")
        progress.close()


class _Progress:
    """Turns the engine's cumulative chunks into deltas. Used by one thread at a time."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._counted = 0
        self._seen = 0
        self._ended = False

    def receive(self, chunk: dict[str, Any]) -> bool:
        """Take one chunk; true tells the engine to stop."""
        if "error" in chunk or "choices" not in chunk:
            error = chunk.get("error", chunk)
            self._ended = True
            message = str(error.get("message", error))
            self._sink.fail(message, client_fault=error.get("code") == 400)
            return True
        if self._sink.cancelled:
            return True
        if "prompt_progress" in chunk:
            self._sink.prompt(int(chunk["prompt_progress"]["total"]))
        self._forward(chunk)
        return False

    def _forward(self, chunk: dict[str, Any]) -> None:
        choice = chunk["choices"][0]
        usage = chunk.get("usage")
        total = int(usage["completion_tokens"] if usage else chunk.get("timings", {}).get("predicted_n", 0))
        if usage:
            self._sink.prompt(int(usage["prompt_tokens"]))
        # Text is held back while it may be the start of a stop word or half a character: its tokens then count
        # with the text that follows.
        tokens = max(total - self._counted, 0)
        if choice["finish_reason"]:
            self._ended = True
            self._sink.finish(choice["finish_reason"], text=choice["text"], tokens=tokens)
        elif choice["text"]:
            self._counted += tokens
            self._sink.delta(choice["text"], tokens)
        self._seen = max(total, self._seen)

    def fail(self, message: str) -> None:
        if not self._ended:
            self._ended = True
            self._sink.fail(message, client_fault=False)

    def close(self) -> None:
        """The call is over. Without an end so far it was cut short on purpose."""
        if not self._ended:
            self._ended = True
            self._sink.finish("cancelled", tokens=self._seen - self._counted)


def _request(generation: Generation) -> dict[str, Any]:
    """llama.cpp's request. `return_progress` makes it call back during a long prompt, where it would be deaf else."""
    penalties = generation.frequency_penalty or generation.presence_penalty
    return {
        "prompt": generation.prompt_text if generation.prompt_ids is None else list(generation.prompt_ids),
        "n_predict": -1 if generation.max_tokens is None else generation.max_tokens,
        "temperature": generation.temperature,
        "top_p": generation.top_p,
        "top_k": generation.top_k,
        "min_p": 0.0,
        "frequency_penalty": generation.frequency_penalty,
        "presence_penalty": generation.presence_penalty,
        "repeat_last_n": -1 if penalties else 0,
        "stop": list(generation.stop),
        # A kept prompt would tell one tenant by the clock what another asked, and would change answers a little.
        "cache_prompt": False,
        "stream": True,
        "timings_per_token": True,
        "return_progress": True,
    } | ({} if generation.seed is None else {"seed": generation.seed})


def create(config: EngineConfig) -> LlamaCpp:
    """Load the GGUF file. Raises EngineError if it is not there or llama.cpp refuses it."""
    import xllamacpp

    if not config.model.is_file():
        raise EngineError(f"{config.model} is not there: the weights Job of this model must run first")
    private = Path(tempfile.mkdtemp(prefix="paddock-llama-"))
    parameters = _parameters(xllamacpp.CommonParams(), config=config, private=private)
    try:
        server = xllamacpp.Server(parameters)
    except RuntimeError as error:
        shutil.rmtree(private, ignore_errors=True)
        raise EngineError(f"llama.cpp cannot load {config.model.name}: {error}") from error
    ignore_termination()
    return LlamaCpp(server=server, private=private, concurrency=config.max_concurrency)


def _parameters(parameters: Any, *, config: EngineConfig, private: Path) -> Any:
    parameters.model.path = str(config.model)
    parameters.n_parallel = config.max_concurrency
    parameters.n_ctx = config.context_length * config.max_concurrency
    parameters.kv_unified = False
    parameters.n_batch = parameters.n_ubatch = _BATCH
    parameters.ctx_shift = False
    parameters.cache_ram_mib = 0
    parameters.hostnames = [str(private / "unused.sock")]
    parameters.api_keys = [secrets.token_urlsafe(32)]
    parameters.n_threads_http = 1
    parameters.ui = False
    parameters.endpoint_slots = False
    parameters.verbosity = _ERRORS_ONLY
    if "threads" in config.arguments:
        parameters.cpuparams.n_threads = int(config.arguments["threads"])
    return parameters


def ignore_termination() -> None:
    """Undo llama.cpp's signal handlers: a signal to the whole group must not stop the engine before Triton drained."""
    import ctypes
    import signal

    libc = ctypes.CDLL(None)
    with contextlib.suppress(AttributeError):
        libc.signal(int(signal.SIGTERM), ctypes.c_void_p(1))
        libc.signal(int(signal.SIGINT), ctypes.c_void_p(1))
