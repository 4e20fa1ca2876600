"""May this server load the engine that it was given? Asked before Triton starts."""

import logging
import os
import signal
from pathlib import Path

import msgspec
from paddock_core.engines.marker import MARKER, Marker, mismatch

from paddock_serving.compiled.runtime import find_runtime
from paddock_serving.engines.base import EngineConfig
from paddock_serving.errors import EngineIncompatibleError

log = logging.getLogger(__name__)

ENGINE = "tensorrt"
"""Name of the engine, in model.yaml, that loads compiled ones."""
_REFUSED = "refused-engine"


def read_marker(folder: Path) -> Marker | None:
    """What lies beside a finished engine; None where there is none that can be read."""
    try:
        return msgspec.json.decode((folder / MARKER).read_bytes(), type=Marker)
    except (OSError, msgspec.DecodeError):
        return None


def complete(folder: Path, marker: Marker) -> bool:
    """True if every file is there, with its size."""
    sizes = ((folder / name, size) for name, size in marker.files.items())
    return all(path.is_file() and path.stat().st_size == size for path, size in sizes)


def check_engine(config: EngineConfig) -> None:
    """Raises EngineIncompatibleError where this container cannot load the engine that model.yaml names."""
    if config.engine != ENGINE:
        return
    marker = read_marker(config.model)
    if marker is None or not complete(config.model, marker):
        raise EngineIncompatibleError(f"{config.model} holds no complete engine: its build Job must run again")
    wrong = mismatch(marker, find_runtime(os.environ))
    if wrong is not None:
        raise EngineIncompatibleError(wrong)


def stay_refused(scratch: Path) -> None:
    """End the first time, so that the reason can be read; from then on wait, as nothing would be different.

    The folder goes with the pod. So the container is started again once, and never loops.
    """
    note = scratch / _REFUSED
    scratch.mkdir(parents=True, exist_ok=True)
    if not note.exists():
        note.touch()
        return
    log.error("this engine was refused already: waiting for the pod to be taken away")
    asked = {signal.SIGTERM, signal.SIGINT}
    # Blocked first: a container's first process would not be told otherwise.
    signal.pthread_sigmask(signal.SIG_BLOCK, asked)
    signal.sigwait(asked)
