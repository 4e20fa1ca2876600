"""What an engine is: it takes a generation and tells a sink what comes of it."""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

import yaml

from paddock_serving.errors import EngineError


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """`model.yaml`, as the operator rendered it. `arguments` are the engine's own, by its own names."""

    engine: str
    """Names the module in `paddock_serving.engines`."""
    model: Path
    """A file (gguf) or a folder (safetensors)."""
    context_length: int
    """Tokens of prompt and answer together, for one sequence."""
    max_concurrency: int
    """Sequences at the full context that the engine must have room for at once."""
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def capacity(self) -> int:
        """Sequences that run at once, up to the engine's own limit where one is given; more wait."""
        return int(self.arguments.get("max_batch_size", self.max_concurrency))


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One request. Exactly one of `prompt_ids` and `prompt_text` is given; None elsewhere: the engine's default."""

    id: str
    prompt_ids: tuple[int, ...] | None = None
    prompt_text: str | None = None
    max_tokens: int | None = None
    temperature: float = 1.0
    """0 means greedy."""
    top_p: float = 1.0
    top_k: int = 0
    """0 means all."""
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    seed: int | None = None
    stop: tuple[str, ...] = ()


class Sink(Protocol):
    """Where an engine reports one request. Any thread may call; exactly one of `finish` and `fail` ends it."""

    @property
    def cancelled(self) -> bool:
        """True once nobody wants the answer any more: the engine stops at its next token."""

    def on_cancel(self, action: Callable[[], None]) -> None:
        """Have `action` called when the request is cancelled, at once if it is already."""

    def prompt(self, tokens: int) -> None:
        """Tell the prompt's length in tokens, as the engine counts it; before the first delta."""

    def delta(self, text: str, tokens: int) -> None:
        """Hand on more text (whole characters only), and the tokens that were generated for it."""

    def finish(self, reason: str, *, text: str = "", tokens: int = 0) -> None:
        """End with stop, length or cancelled; `text` and `tokens` are what came since the last delta."""

    def fail(self, message: str, *, client_fault: bool) -> None:
        """End with an error."""


class Engine(Protocol):
    """A loaded model. Requests run side by side; `submit` never blocks."""

    def submit(self, generation: Generation, sink: Sink) -> None:
        """Begin; what happens is told to the sink."""

    def close(self) -> None:
        """Release the model. Running requests were ended before."""


def load_config(path: Path) -> EngineConfig:
    """Read `model.yaml`. Raises EngineError if a part is missing."""
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    own = {"engine", "model", "context_length", "max_concurrency", "triton_config"}
    try:
        return EngineConfig(
            engine=str(document["engine"]),
            model=Path(document["model"]),
            context_length=int(document["context_length"]),
            max_concurrency=int(document["max_concurrency"]),
            arguments={key: value for key, value in document.items() if key not in own},
        )
    except (KeyError, TypeError, ValueError) as error:
        raise EngineError(f"{path.name} is not complete ({error!r}): render it again with the operator") from error


def load_engine(config: EngineConfig) -> Engine:
    """Load the model with the engine that the configuration names. Raises EngineError if that fails."""
    package = importlib.import_module("paddock_serving.engines")
    known = sorted(module.name for module in pkgutil.iter_modules(package.__path__) if module.name != "base")
    if config.engine not in known:
        raise EngineError(f"no engine {config.engine!r} in this image; it has {', '.join(known)}")
    module = importlib.import_module(f"paddock_serving.engines.{config.engine}")
    return cast("Engine", module.create(config))
