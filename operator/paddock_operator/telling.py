"""What pods tell of themselves when they are asked, beside the rounds. What is remembered can be thrown away."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, TypeVar

from paddock_operator.forgetting import Remembered
from paddock_operator.lanes import WAIT_SECONDS, Lane, Lanes, moment
from paddock_operator.ports import Clock

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Word(Generic[T]):
    """The last thing that a pod told."""

    said: T
    told_at: float
    """Seconds since boot."""


@dataclass(slots=True)
class _Memory(Generic[T]):
    asked_at: float
    word: Word[T] | None = None
    slow: bool = False
    """True if the last answer came too late for the round that asked."""
    under_way: bool = False
    done: asyncio.Event = field(default_factory=asyncio.Event)


class TellingBook(Generic[T]):
    """Asks each pod at most once an interval, however many want to know, and keeps its last word."""

    def __init__(
        self,
        *,
        ask: Callable[[str], Awaitable[T | None]],
        clock: Clock,
        lanes: Lanes,
        interval_seconds: float,
        keep_seconds: float,
    ) -> None:
        """`ask` is given a pod's URL, and tells None where it does not say."""
        self._ask = ask
        self._clock = clock
        self._lanes = lanes
        self._interval = interval_seconds
        self._known: Remembered[str, _Memory[T]] = Remembered(seconds=keep_seconds)

    async def words(self, urls: Mapping[str, str]) -> dict[str, Word[T]]:
        """By uid what each pod told last; `urls` has where to ask it. A moment is waited for those that answered
        promptly the last time, or were never asked; what comes later is told the next time."""
        now = self._clock.boottime()
        awaited = []
        for uid, url in urls.items():
            memory = self._known.get(uid)
            if memory is None or (not memory.under_way and now - memory.asked_at >= self._interval * 0.9):
                memory = self._send(uid, url, memory)
                awaited += [] if memory.slow else [memory.done]
        await moment(awaited)
        self._known.forget(now=self._clock.boottime())
        return {uid: item.word for uid in urls if (item := self._known.get(uid)) and item.word is not None}

    def _send(self, uid: str, url: str, memory: _Memory[T] | None) -> _Memory[T]:
        if memory is None:
            memory = self._known[uid] = _Memory(asked_at=0.0)
        memory.asked_at = self._clock.boottime()
        memory.under_way = True
        memory.done.clear()
        self._lanes.put(Lane.TELLING, partial(self._hear, memory, url))
        return memory

    async def _hear(self, memory: _Memory[T], url: str) -> None:
        began = self._clock.boottime()
        try:
            said = await self._ask(url)
        finally:
            now = self._clock.boottime()
            memory.slow = now - began >= WAIT_SECONDS
            memory.under_way = False
            memory.done.set()
        if said is not None:
            memory.word = Word(said, told_at=now)
