"""Secrets in files that may be replaced while the operator runs."""

import logging
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
"""How often the file is read, at most: a new token is used within that time."""


class SecretFile:
    """A secret that `source` reads (ValueError where it cannot); one that cannot be read changes nothing."""

    def __init__(self, source: Callable[[], bytes], *, now: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._now = now
        self._content = source()
        self._looked = now()

    def read(self) -> bytes:
        """The secret as the file has it now, or had it a moment ago."""
        if self._now() - self._looked >= LOOK_SECONDS:
            self._looked = self._now()
            try:
                self._content = self._source()
            except ValueError as error:
                log.warning("a secret's file cannot be read: the one read before is used", extra={"error": str(error)})
        return self._content
