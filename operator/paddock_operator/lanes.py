"""Pods are asked beside the rounds: one that takes a request and never answers keeps no deployment waiting.

What is asked goes by lanes, each with so many at once. What never was asked, what answered promptly and what kept the
last asker waiting have lanes of their own, so those that hang keep only each other waiting.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Collection
from enum import Enum

log = logging.getLogger(__name__)

WAIT_SECONDS = 0.25
"""So long a round waits for what it has just asked."""

Ask = Callable[[], Awaitable[None]]


class Lane(Enum):
    """Which one, and how many are asked in it at once."""

    FIRST = ("first", 32)
    """Whoever was never asked: a deployment waits for that to serve."""
    PROMPT = ("prompt", 32)
    SLOW = ("slow", 32)
    TELLING = ("telling", 16)
    """What is asked of pods beside whether they answer."""

    @property
    def width(self) -> int:
        """How many are asked at once."""
        return self.value[1]


class Lanes:
    """Who is to be asked, and the tasks that ask. Belongs to one event loop."""

    def __init__(self) -> None:
        self._queues = {lane: asyncio.Queue[Ask]() for lane in Lane}

    def put(self, lane: Lane, ask: Ask) -> None:
        """Ask as soon as the lane is free."""
        self._queues[lane].put_nowait(ask)

    async def run(self) -> None:
        """Never returns. Every task that it needs is made before its first wait, as kopf waits for later ones at the
        end of the process."""
        async with asyncio.TaskGroup() as group:
            for lane, queue in self._queues.items():
                for _ in range(lane.width):
                    group.create_task(_work(queue))


async def _work(queue: asyncio.Queue[Ask]) -> None:
    while True:
        ask = await queue.get()
        try:
            await ask()
        except Exception:
            # Whatever a pod answers must not end the process.
            log.exception("a pod could not be asked")


async def moment(events: Collection[asyncio.Event]) -> None:
    """Wait for all of them, but not for long."""
    if not events:
        return
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(WAIT_SECONDS):
            for event in events:
                await event.wait()
