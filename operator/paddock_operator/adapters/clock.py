"""The machine's clocks."""

import time
from pathlib import Path


class SystemClock:
    """The port `Clock`."""

    def now(self) -> float:
        return time.time()

    def boottime(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """Changes at every boot, so that boot times of different boots are never compared."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
