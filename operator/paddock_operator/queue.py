"""The work queue: keys, not events. One worker at a time has a key; what comes meanwhile is one more round.

What can wait says for how long, and whatever is due within that time may go first: a deployment that is nearly there is
brought to its end before another one is begun. Nothing waits for ever: a key passes all that became due later than the
end of its patience.
"""

import asyncio
import contextlib
import heapq
import math
import random
from collections.abc import Callable
from typing import NamedTuple

from paddock_operator.ports import Key

BACKOFF_FIRST_SECONDS = 1.0
BACKOFF_MAX_SECONDS = 400.0
"""With the jitter: what fails for ever is tried once in five minutes or less often."""


class _Wish(NamedTuple):
    at: float
    """When the key is due."""
    by: float
    """Its turn among those that are due: the earliest goes first."""


SHORTEST_SECONDS = 0.001
"""A timer may come a hair too early by our clock: without a shortest sleep a worker would spin until then."""
NEVER = _Wish(math.inf, math.inf)


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
        self._wished: dict[Key, _Wish] = {}
        self._coming: list[tuple[_Wish, Key]] = []
        """A heap of what is not due yet, by when it is."""
        self._ready: list[tuple[float, Key]] = []
        """A heap of what is due, by its turn."""
        self._running: set[Key] = set()
        self._later: dict[Key, tuple[float, float]] = {}
        """Seconds and patience of what is wanted some time after the round that is under way."""
        self._failures: dict[Key, tuple[str, int]] = {}
        """What has failed last, and how often in a row."""
        self._wake = asyncio.Event()

    def __contains__(self, key: Key) -> bool:
        """True if a round for this key is to come, now or later."""
        return key in self._wished or key in self._later

    def __len__(self) -> int:
        return len(self._wished.keys() | self._later.keys())

    def oldest_age_seconds(self) -> float:
        """For how long the longest-waiting key has been due; 0 if none is."""
        now = self._time()
        ready = [wish.at for key, wish in self._wished.items() if wish.at <= now and key not in self._running]
        return now - min(ready) if ready else 0.0

    def add(self, key: Key, *, after_seconds: float = 0.0, patience_seconds: float = 0.0) -> None:
        """Want a round for this key; the earliest wish wins. For `patience_seconds` longer it may let others go first
        that are due by then. A wish for later counts from the end of the round that is under way, if one is: what that
        one writes is heard of, too, before the next."""
        if after_seconds > 0.0 and key in self._running:
            seconds, patience = self._later.get(key, (math.inf, math.inf))
            self._later[key] = (min(after_seconds, seconds), min(patience_seconds, patience))
            return
        at, before = self._time() + after_seconds, self._wished.get(key, NEVER)
        wish = _Wish(min(at, before.at), min(at + patience_seconds, before.by))
        if wish == before:
            return
        self._wished[key] = wish
        self._line_up(key, wish)

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

    def failed(self, key: Key, *, of: str = "", most_seconds: float = BACKOFF_MAX_SECONDS) -> float:
        """Give a key back after a bad round; it returns after so many seconds (1 doubling to `most_seconds`, with
        jitter). `of` says what failed: where it is another thing than the last time, the rounds get on, and the
        back-off begins anew."""
        last, count = self._failures.get(key, (of, 0))
        count = count if last == of else 0
        self._failures[key] = (of, count + 1)
        delay = min(BACKOFF_FIRST_SECONDS * 2.0 ** min(count, 20), most_seconds)
        delay *= 0.75 + 0.5 * self.chance.random()
        self._release(key)
        self.add(key, after_seconds=delay)
        return delay

    def _release(self, key: Key) -> None:
        self._running.discard(key)
        if key in self._wished:
            self._line_up(key, self._wished[key])
        if key in self._later:
            seconds, patience = self._later.pop(key)
            self.add(key, after_seconds=seconds, patience_seconds=patience)

    def _line_up(self, key: Key, wish: _Wish) -> None:
        heapq.heappush(self._coming, (wish, key))
        self._wake.set()

    def _pop_due(self) -> Key | None:
        now = self._time()
        while self._coming and self._coming[0][0].at <= now:
            wish, key = heapq.heappop(self._coming)
            heapq.heappush(self._ready, (wish.by, key))
        while self._ready:
            by, key = heapq.heappop(self._ready)
            wish = self._wished.get(key, NEVER)
            # An entry that an earlier wish has overtaken, or whose key is being worked on, is left over.
            if wish.by == by and wish.at <= now and key not in self._running:
                del self._wished[key]
                self._waited(now - wish.at)
                return key
        return None

    async def _sleep_until_next(self) -> None:
        delay = None if not self._coming else max(SHORTEST_SECONDS, self._coming[0][0].at - self._time())
        # Not wait_for: it makes a task of its own, for which kopf waits five seconds when the process ends.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await self._wake.wait()
