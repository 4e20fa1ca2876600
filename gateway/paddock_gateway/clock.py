"""The gateway's clocks, in one value so that a test may bring its own."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


def _boot_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """`wall` is Unix seconds, for records. `steady_ns` counts through suspend and cannot be set: for every limit."""

    wall: Callable[[], float]
    steady_ns: Callable[[], int]
    boot_id: Callable[[], str]

    def steady(self) -> float:
        """The steady clock in seconds."""
        return self.steady_ns() / 1e9


SYSTEM = Clock(wall=time.time, steady_ns=_boot_ns, boot_id=_boot_id)
