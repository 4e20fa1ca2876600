"""`make gpu-check`: run the llmapi engine for real, where there is a GPU and TensorRT-LLM.

    paddock-serving gpu-check FOLDER

FOLDER holds a Llama checkpoint in safetensors. It generates, cancels, and compares the engine's counts with the
checkpoint's tokenizer. Elsewhere it says in one line what is missing, and exits with 3.
"""

import importlib.util
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from paddock_serving.engines.base import Engine, EngineConfig, Generation
from paddock_serving.errors import EngineError

_NOT_HERE: Final = 3
_TIMEOUT_SECONDS: Final = 120.0


class Collected:
    """A Sink that keeps everything; cancels itself after `cancel_after` deltas if that is given."""

    def __init__(self, *, cancel_after: int | None = None) -> None:
        self._cancel_after = cancel_after
        self._actions: list[Callable[[], None]] = []
        self._deltas = 0
        self.cancelled = False
        self.text = ""
        self.input_tokens = 0
        self.output_tokens = 0
        self.reason = ""
        self.ended = threading.Event()

    def on_cancel(self, action: Callable[[], None]) -> None:
        self._actions.append(action)

    def prompt(self, tokens: int) -> None:
        self.input_tokens = tokens

    def delta(self, text: str, tokens: int) -> None:
        self.text += text
        self.output_tokens += tokens
        self._deltas += 1
        if self._deltas == self._cancel_after:
            self.cancelled = True
            for action in self._actions:
                action()

    def finish(self, reason: str, *, text: str = "", tokens: int = 0) -> None:
        self.text += text
        self.output_tokens += tokens
        self.reason = reason
        self.ended.set()

    def fail(self, message: str, *, client_fault: bool) -> None:
        self.reason = f"{'refused' if client_fault else 'error'}: {message}"
        self.ended.set()


def missing() -> str | None:
    """What this machine lacks, or None."""
    if not Path("/dev/nvidiactl").exists():
        return "no NVIDIA GPU here (/dev/nvidiactl is missing)"
    if importlib.util.find_spec("tensorrt_llm") is None:
        return "TensorRT-LLM is not installed: run this in an image tritonserver:<version>-trtllm-python-py3"
    return None


def run(folder: Path) -> list[str]:
    """Load the checkpoint and try it; gives what is wrong, nothing if all is well."""
    from paddock_serving.engines.llmapi import create

    config = EngineConfig(
        engine="llmapi", model=folder, context_length=2048, max_concurrency=8, arguments={"backend": "pytorch"}
    )
    engine = create(config)
    try:
        return [problem for check in (_answers, _counts, _cancels) if (problem := check(engine))]
    finally:
        engine.close()


def _generate(engine: Engine, sink: Collected, prompt: str, max_tokens: int) -> Collected:
    engine.submit(Generation(id="gpu-check", prompt_text=prompt, max_tokens=max_tokens, temperature=0.0), sink)
    if not sink.ended.wait(_TIMEOUT_SECONDS):
        raise EngineError(f"no end after {_TIMEOUT_SECONDS} s")
    return sink


def _answers(engine: Engine) -> str | None:
    sink = _generate(engine, Collected(), "The capital of Peru is", 16)
    return None if "Lima" in sink.text else f"the answer makes no sense: {sink.text!r} ({sink.reason})"


def _counts(engine: Engine) -> str | None:
    sink = _generate(engine, Collected(), "Count: 1, 2, 3,", 24)
    exact = sink.reason == "stop" or sink.output_tokens == 24
    return None if exact else f"24 tokens were wanted, {sink.output_tokens} counted ({sink.reason})"


def _cancels(engine: Engine) -> str | None:
    sink = _generate(engine, Collected(cancel_after=5), "Count: 1, 2, 3,", 1500)
    return None if sink.output_tokens < 200 else f"cancelled after 5 deltas, but {sink.output_tokens} tokens came"


def check(folder: Path) -> int:
    """The exit code: 0 if all is well, 1 if something is wrong, 3 if this machine cannot tell."""
    absent = missing()
    if absent is not None:
        sys.stderr.write(f"gpu-check: not run: {absent}\n")
        return _NOT_HERE
    try:
        problems = run(folder)
    except EngineError as error:
        problems = [str(error)]
    sys.stdout.write("\n".join(problems) + "\n" if problems else "gpu-check: answers, counts and cancels\n")
    return 1 if problems else 0
