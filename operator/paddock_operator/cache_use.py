"""How full the key-value caches are, of deployments that are scaled by it."""

from collections.abc import Mapping

from paddock_operator.decide.scaling import CACHE_SECONDS
from paddock_operator.lanes import Lanes
from paddock_operator.ports import CacheReader, Clock
from paddock_operator.telling import TellingBook

FRESH_SECONDS = 4 * CACHE_SECONDS
"""What was told longer ago is no longer known."""


class CacheBook:
    """Asks each pod at most once an interval."""

    def __init__(self, *, reader: CacheReader, clock: Clock, lanes: Lanes) -> None:
        self._clock = clock
        self._told = TellingBook(
            ask=lambda url: reader.used(url=url),
            clock=clock,
            lanes=lanes,
            interval_seconds=CACHE_SECONDS,
            keep_seconds=FRESH_SECONDS,
        )

    async def ask(self, urls: Mapping[str, str]) -> dict[str, float]:
        """Uid of each pod to the used part of its cache. `urls` has the metrics by the pod's uid; one that does not
        tell is left out once its last word is old."""
        words = await self._told.words(urls)
        now = self._clock.boottime()
        return {uid: word.said for uid, word in words.items() if now - word.told_at < FRESH_SECONDS}
