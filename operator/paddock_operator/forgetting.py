"""What books remember of what they asked for: it can be thrown away, and is once nobody has asked for it in a while."""

from typing import Protocol, TypeVar

LOOKS_IN_A_LIFE = 10
"""How often, within the time that something is remembered, it is looked through: rounds ask far more often."""


class Asked(Protocol):
    """Something that was asked for."""

    @property
    def asked_at(self) -> float:
        """Seconds of CLOCK_BOOTTIME."""
        ...


K = TypeVar("K")
M = TypeVar("M", bound=Asked)


class Remembered(dict[K, M]):
    """By key, what was asked for within the last `seconds`, or a little longer."""

    def __init__(self, *, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds
        self._next_look = 0.0

    def forget(self, *, now: float) -> None:
        """Drop what is old. `now` is in seconds of CLOCK_BOOTTIME."""
        if now < self._next_look:
            return
        self._next_look = now + self._seconds / LOOKS_IN_A_LIFE
        for key in [key for key, item in self.items() if now - item.asked_at > self._seconds]:
            del self[key]
