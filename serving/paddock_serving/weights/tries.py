"""When a Job that failed is worth running again. The count lies on the volume, since Jobs come and go.

What passes by itself (a connection, the control plane) is tried again soon; what does not (a source that has other
bytes, a full volume, a server that wants to be left alone) ever more rarely. The operator obeys the number of seconds
that stands at the end of a Job's last words.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from paddock_serving.errors import ServingError, WeightsSourceBusyError
from paddock_serving.weights.layout import INCOMING

FIRST_SECONDS: Final = 120.0
MOST_SECONDS: Final = 3600.0
_PASSING_TRIES: Final = 3
"""So many tries, which Kubernetes makes by itself, count as one."""
_MOST_WORDS: Final = 700
"""Characters: the kubelet keeps no more than 4096 bytes of them, and conditions are read by people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tries:
    """Failures in a row for one checkpoint of one model."""

    root: Path
    model: str
    precision: str

    def failed(self, error: ServingError) -> float:
        """Count a failure; how many seconds to wait before the next try."""
        lasting, passing = self._read()
        if error.lasting:
            lasting += 1
        else:
            passing += 1
        self._write(lasting, passing)
        doubled = lasting + (passing - 1) // _PASSING_TRIES if passing else lasting - 1
        seconds = min(FIRST_SECONDS * 2.0 ** min(doubled, 10), MOST_SECONDS)
        return max(seconds, error.seconds) if isinstance(error, WeightsSourceBusyError) else seconds

    def succeeded(self) -> None:
        """Forget the failures."""
        self._path.unlink(missing_ok=True)

    @property
    def _path(self) -> Path:
        return self.root / INCOMING / f".tries-{self.model}@{self.precision}.json"

    def _read(self) -> tuple[int, int]:
        try:
            lasting, passing = json.loads(self._path.read_bytes())
            return int(lasting), int(passing)
        except (OSError, ValueError, TypeError):
            return 0, 0

    def _write(self, lasting: int, passing: int) -> None:
        """A volume that cannot be written to keeps no count: then each failure is the first."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            draft = self._path.with_suffix(f".{os.getpid()}")
            draft.write_text(json.dumps([lasting, passing]), encoding="utf-8")
            draft.replace(self._path)
        except OSError:
            return


def last_words(error: ServingError, *, seconds: float) -> str:
    """What a Job leaves: `<reason>: <words>`, and a line with when to try again."""
    reason = type(error).__name__.removesuffix("Error")
    return f"{f'{reason}: {error}'[:_MOST_WORDS]}\n{json.dumps({'retryAfterSeconds': round(seconds)})}"
