"""An event loop whose clock jumps: where nobody has anything to do, the next timer is due at once."""

import asyncio
import contextlib
import gc
import selectors
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

T = TypeVar("T")
WALL = 1_800_000_000.0
"""Unix seconds at which every world begins."""
BOOT = 1_000.0
RESOLUTION_SECONDS = 1e-5
"""Rounding must never leave a timer a hair in the future, or the clock would stand still."""

MOST_TURNS = 1_000_000
"""A thousand deployments that are looked at for the first time take a tenth of that."""
COLLECTION = (100_000, 50, 50)
"""Objects more than went before they are looked through, and how much more rarely the older ones are."""


class NothingLeftError(RuntimeError):
    """Everybody waits for somebody else and no timer runs: on a real clock this would hang for ever."""


class StandsStillError(RuntimeError):
    """Somebody is busy without ever waiting: on a real clock this would be a hot loop."""


class _Selector(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
    """Where no socket has news, waiting only moves the clock."""

    elapsed = 0.0
    turns = 0
    """Of the loop, since its clock was moved last."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.turns += 1
        if self.turns > MOST_TURNS:
            raise StandsStillError(f"{MOST_TURNS:,} turns of the event loop, and nobody has waited for anything")
        news = super().select(0)
        if not news:
            if timeout is None:
                raise NothingLeftError("nothing is due and nobody will ever be woken")
            if timeout > 0:
                self.elapsed += timeout
                self.turns = 0
        return news


class VirtualLoop(asyncio.SelectorEventLoop):
    """Waits by moving its clock. Real sockets and threads are not waited for: there must be none."""

    def __init__(self) -> None:
        self._jumping = _Selector()
        super().__init__(self._jumping)
        self._clock_resolution = RESOLUTION_SECONDS

    def time(self) -> float:
        return self._jumping.elapsed


class VirtualClock:
    """The operator's port `Clock` on the running loop. `skew` is by how much this machine's wall clock is wrong."""

    def __init__(self, *, skew: float = 0.0) -> None:
        self._loop = asyncio.get_running_loop()
        self.skew = skew

    def now(self) -> float:
        return WALL + self._loop.time() + self.skew

    def boottime(self) -> float:
        return BOOT + self._loop.time()


@contextlib.contextmanager
def _rarely_collected() -> Iterator[None]:
    """A world keeps its whole history: looked through as often as by default, it takes a quarter of the time."""
    before = gc.get_threshold()
    gc.set_threshold(*COLLECTION)
    try:
        yield
    finally:
        gc.set_threshold(*before)


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run to its end under virtual time."""
    with _rarely_collected(), asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
