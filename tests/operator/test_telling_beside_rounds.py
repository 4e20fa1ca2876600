"""What pods tell of themselves: asked once an interval, beside the rounds, and remembered for a while."""

import asyncio

from paddock_operator.cache_use import FRESH_SECONDS, CacheBook
from paddock_operator.decide.scaling import CACHE_SECONDS
from paddock_operator.lanes import WAIT_SECONDS, Lanes

from faults.cluster.simulated.virtual_time import VirtualClock
from tests.operator.lanes_that_run import beside

BOTH = {"p": "http://p", "q": "http://q"}


class Reader:
    def __init__(self) -> None:
        self.told: float | None = 0.5
        self.seconds = 0.01
        self.asked: list[str] = []

    async def used(self, *, url: str) -> float | None:
        self.asked.append(url)
        await asyncio.sleep(self.seconds)
        return self.told


def test_caches_are_asked_at_most_once_an_interval_and_old_words_are_forgotten() -> None:
    async def scenario(clock: VirtualClock, lanes: Lanes) -> None:
        reader = Reader()
        book = CacheBook(reader=reader, clock=clock, lanes=lanes)
        assert await book.ask(BOTH) == {"p": 0.5, "q": 0.5}
        assert await book.ask({"p": "http://p"}) == {"p": 0.5}
        assert reader.asked == ["http://p", "http://q"]
        reader.told = None
        await asyncio.sleep(CACHE_SECONDS)
        assert await book.ask({"p": "http://p"}) == {"p": 0.5}, "one silent moment changes nothing"
        assert len(reader.asked) == 3
        await asyncio.sleep(FRESH_SECONDS - CACHE_SECONDS)
        assert await book.ask({"p": "http://p"}) == {}

    beside(scenario)


def test_a_pod_that_hangs_keeps_no_round_waiting_and_is_not_asked_twice_at_once() -> None:
    async def scenario(clock: VirtualClock, lanes: Lanes) -> None:
        reader = Reader()
        reader.seconds = 3 * CACHE_SECONDS
        book = CacheBook(reader=reader, clock=clock, lanes=lanes)
        waits = []
        for _ in range(6):
            began = clock.boottime()
            await book.ask({"p": "http://p"})
            waits.append(clock.boottime() - began)
            await asyncio.sleep(CACHE_SECONDS)
        assert waits[0] <= WAIT_SECONDS + 0.01
        assert waits[1:] == [0.0] * 5, "nor a moment, once it is known to be slow"
        assert len(reader.asked) == 2
        assert await book.ask({"p": "http://p"}) == {"p": 0.5}, "what comes late is told the next time"

    beside(scenario)


def test_what_is_told_anew_is_told_in_the_same_round() -> None:
    async def scenario(clock: VirtualClock, lanes: Lanes) -> None:
        reader = Reader()
        book = CacheBook(reader=reader, clock=clock, lanes=lanes)
        for said in (0.1, 0.7, 0.2):
            reader.told = said
            assert await book.ask({"p": "http://p"}) == {"p": said}
            await asyncio.sleep(CACHE_SECONDS)

    beside(scenario)


def test_one_that_cannot_be_asked_says_nothing_and_is_asked_again() -> None:
    async def scenario(clock: VirtualClock, lanes: Lanes) -> None:
        class Broken(Reader):
            async def used(self, *, url: str) -> float | None:
                if len(self.asked) < 1:
                    self.asked.append(url)
                    raise RuntimeError("nobody expected this")
                return await super().used(url=url)

        book = CacheBook(reader=Broken(), clock=clock, lanes=lanes)
        assert await book.ask({"p": "http://p"}) == {}
        await asyncio.sleep(CACHE_SECONDS)
        assert await book.ask({"p": "http://p"}) == {"p": 0.5}

    beside(scenario)
