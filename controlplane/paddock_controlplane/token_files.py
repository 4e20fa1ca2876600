"""Bearer tokens that lie in files and may be replaced while the process runs.

Files on different machines are not replaced at the same moment. So the token that was there before counts for a while
after it was replaced, and a caller is refused at no time between.
"""

import hmac
import logging
import time
from collections.abc import Callable

from paddock_controlplane.problems import SettingsError

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
"""How often the file is looked at, at most."""
OVERLAP_SECONDS = 300.0
"""How long the token before still counts."""


class FileToken:
    """A token that `read` gives; one that cannot be read changes nothing."""

    def __init__(self, read: Callable[[], bytes], *, now: Callable[[], float] = time.monotonic) -> None:
        self._read = read
        self._now = now
        self._current = read()
        self._former = b""
        self._former_until = 0.0
        self._looked = now()

    def matches(self, presented: bytes) -> bool:
        """True if this is the token, or the one before it, while that counts."""
        now = self._now()
        if now - self._looked >= LOOK_SECONDS:
            self._looked = now
            self._look(now)
        current = hmac.compare_digest(presented, self._current)
        former = hmac.compare_digest(presented, self._former)
        return current or (former and now < self._former_until)

    def _look(self, now: float) -> None:
        try:
            found = self._read()
        except SettingsError as error:
            log.warning("a token's file cannot be read: the one read before counts", extra={"error": str(error)})
            return
        if found != self._current:
            log.info("a token was replaced")
            self._former, self._former_until = self._current, now + OVERLAP_SECONDS
            self._current = found
