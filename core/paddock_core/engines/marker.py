"""What lies beside a finished engine, and whether a server can load it."""

import msgspec

from paddock_core.engines.request import EngineRequest

MARKER = "engine.json"
INCOMPATIBLE = "EngineIncompatible"
"""First word of what a server leaves that was given an engine of another runtime or GPU."""


class Runtime(msgspec.Struct, frozen=True, kw_only=True):
    """What a process finds itself running on."""

    tensorrt_llm: str
    tensorrt: str
    compute_capability: int
    """Major times ten plus minor, of the node's GPUs."""
    gpu: str = ""
    """The product's name as the driver says it."""


class Marker(msgspec.Struct, frozen=True, kw_only=True):
    """A complete, verified engine."""

    key: str
    request: EngineRequest
    runtime: Runtime
    """What it was built and loaded with."""
    files: dict[str, int]
    """Name of each file to its size in bytes."""
    calibration: str = ""
    """Digest of the calibration set that it was quantised with; empty where it was not."""


def mismatch(marker: Marker, runtime: Runtime) -> str | None:
    """Why this runtime cannot load the engine, or None. TensorRT promises nothing across versions, even patches."""
    built = marker.runtime
    for name, words in _COMPARED.items():
        then, now = getattr(built, name), getattr(runtime, name)
        if then != now:
            return f"the engine was built with {words} {_shown(then)}, here is {_shown(now)}"
    return None


_COMPARED = {
    "tensorrt": "TensorRT",
    "tensorrt_llm": "TensorRT-LLM",
    "compute_capability": "a GPU of compute capability",
}


def _shown(value: str | int) -> str:
    return f"{value // 10}.{value % 10}" if isinstance(value, int) else value
