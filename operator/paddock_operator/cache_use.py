"""How full the key-value caches are, of deployments that are scaled by it. What is remembered can be thrown away."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from paddock_operator.decide.scaling import CACHE_SECONDS
from paddock_operator.forgetting import Remembered
from paddock_operator.ports import CacheReader, Clock

FRESH_SECONDS = 4 * CACHE_SECONDS
"""What was told longer ago is no longer known."""


@dataclass(frozen=True, slots=True)
class _Memory:
    asked_at: float
    told_at: float
    used: float | None


class CacheBook:
    """Asks each pod at most once an interval."""

    def __init__(self, *, reader: CacheReader, clock: Clock) -> None:
        self._reader = reader
        self._clock = clock
        self._known: Remembered[str, _Memory] = Remembered(seconds=FRESH_SECONDS)

    async def ask(self, urls: Mapping[str, str]) -> dict[str, float]:
        """Uid of each pod to the used part of its cache. `urls` has the metrics by the pod's uid; pods that are due are
        asked side by side, and one that does not tell is left out once its last word is old."""
        now = self._clock.boottime()
        due = [uid for uid in urls if uid not in self._known or now - self._known[uid].asked_at >= CACHE_SECONDS * 0.9]
        await asyncio.gather(*(self._ask_one(uid, urls[uid]) for uid in due))
        now = self._clock.boottime()
        self._known.forget(now=now)
        return {
            uid: item.used
            for uid in urls
            if (item := self._known.get(uid)) and item.used is not None and now - item.told_at < FRESH_SECONDS
        }

    async def _ask_one(self, uid: str, url: str) -> None:
        used = await self._reader.used(url=url)
        now, before = self._clock.boottime(), self._known.get(uid)
        if used is not None or before is None:
            self._known[uid] = _Memory(asked_at=now, told_at=now, used=used)
        else:
            self._known[uid] = _Memory(asked_at=now, told_at=before.told_at, used=before.used)
