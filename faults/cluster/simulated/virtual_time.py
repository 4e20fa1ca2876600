"""An event loop whose clock jumps: where nobody has anything to do, the next timer is due at once."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
WALL = 1_800_000_000.0
"""Unix seconds at which every world begins."""
BOOT = 1_000.0
RESOLUTION_SECONDS = 1e-5
"""Rounding must never leave a timer a hair in the future, or the clock would stand still."""


class NothingLeftError(RuntimeError):
    """Everybody waits for somebody else and no timer runs: on a real clock this would hang for ever."""


class _Selector(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
    """Where no socket has news, waiting only moves the clock."""

    elapsed = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        news = super().select(0)
        if not news:
            if timeout is None:
                raise NothingLeftError("nothing is due and nobody will ever be woken")
            self.elapsed += max(0.0, timeout)
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


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run to its end under virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
