"""The work queue: keys, not events. One worker at a time has a key; what comes meanwhile is one more round."""

import asyncio
import contextlib
import heapq
import random
from collections.abc import Callable

from paddock_operator.ports import Key

BACKOFF_FIRST_SECONDS = 1.0
BACKOFF_MAX_SECONDS = 400.0
"""With the jitter: what fails for ever is tried once in five minutes or less often."""


class WorkQueue:
    """Coalescing and delayed, with a back-off for each key. Belongs to one event loop.

    `time` is a monotonic clock; `random_source` spreads retries: keys that failed together do not return together.
    `waited` is told for how many seconds each key was due before it was taken.
    """

    def __init__(
        self,
        *,
        time: Callable[[], float],
        random_source: random.Random,
        waited: Callable[[float], None] = lambda _seconds: None,
    ) -> None:
        self._time = time
        self._waited = waited
        self.chance = random_source
        """Spreads what would come at once."""
        self._due: dict[Key, float] = {}
        self._heap: list[tuple[float, Key]] = []
        self._running: set[Key] = set()
        self._failures: dict[Key, int] = {}
        self._wake = asyncio.Event()

    def __contains__(self, key: Key) -> bool:
        """True if a round for this key is to come, now or later."""
        return key in self._due

    def __len__(self) -> int:
        return len(self._due)

    def oldest_age_seconds(self) -> float:
        """For how long the longest-waiting key has been due; 0 if none is."""
        now = self._time()
        ready = [self._due[key] for key in self._due if self._due[key] <= now and key not in self._running]
        return now - min(ready) if ready else 0.0

    def add(self, key: Key, *, after_seconds: float = 0.0) -> None:
        """Want a round for this key; the earliest wish wins."""
        at = self._time() + after_seconds
        if at >= self._due.get(key, float("inf")):
            return
        self._due[key] = at
        heapq.heappush(self._heap, (at, key))
        self._wake.set()

    async def take(self) -> Key:
        """Wait for a key that is due and that no other worker holds. Give it back by `done` or `failed`."""
        while True:
            self._wake.clear()
            key = self._pop_due()
            if key is not None:
                self._running.add(key)
                return key
            await self._sleep_until_next()

    def done(self, key: Key, *, look_after_seconds: float | None = None) -> None:
        """Give a key back after a good round."""
        self._failures.pop(key, None)
        self._release(key)
        if look_after_seconds is not None:
            self.add(key, after_seconds=look_after_seconds)

    def failed(self, key: Key) -> float:
        """Give a key back after a bad round; it returns after so many seconds (1 doubling to 400, with jitter)."""
        count = self._failures.get(key, 0)
        self._failures[key] = count + 1
        delay = min(BACKOFF_FIRST_SECONDS * 2.0 ** min(count, 20), BACKOFF_MAX_SECONDS)
        delay *= 0.75 + 0.5 * self.chance.random()
        self._release(key)
        self.add(key, after_seconds=delay)
        return delay

    def _release(self, key: Key) -> None:
        self._running.discard(key)
        if key in self._due:
            heapq.heappush(self._heap, (self._due[key], key))
            self._wake.set()

    def _pop_due(self) -> Key | None:
        while self._heap and self._heap[0][0] <= self._time():
            at, key = heapq.heappop(self._heap)
            # An entry that an earlier wish has overtaken, or whose key is being worked on, is left over.
            if self._due.get(key) == at and key not in self._running:
                del self._due[key]
                self._waited(self._time() - at)
                return key
        return None

    async def _sleep_until_next(self) -> None:
        delay = None if not self._heap else max(0.0, self._heap[0][0] - self._time())
        # Not wait_for: it makes a task of its own, for which kopf waits five seconds when the process ends.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await self._wake.wait()
