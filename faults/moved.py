"""Runs a module of a part under clocks that can be moved while it runs: `python moved.py FILE MODULE [ARGUMENT ...]`.

FILE holds two doubles: the seconds by which the wall clock, and the clock since boot, are off. To the program it is as
on a machine whose time somebody sets, or that slept. Standard library only; PostgreSQL's clock stays as it is.
"""

import builtins
import datetime as dt
import mmap
import runpy
import struct
import sys
import time
import types
from typing import Any


def move(shared: mmap.mmap) -> None:
    """Put the moved clocks in the place of Python's own; `datetime` only where our packages import it."""
    now, now_ns, get, get_ns = time.time, time.time_ns, time.clock_gettime, time.clock_gettime_ns
    ordinary = builtins.__import__

    def off(which: int) -> float:
        return float(struct.unpack_from("=dd", shared)[which])

    class Moved(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> Any:
            return dt.datetime.fromtimestamp(time.time(), tz)

    ours = types.SimpleNamespace(**vars(dt) | {"datetime": Moved})

    def bring(name: str, globals: Any = None, *more: Any, **named: Any) -> Any:  # noqa: A002 - as Python calls it
        found = ordinary(name, globals, *more, **named)
        return ours if name == "datetime" and str((globals or {}).get("__name__")).startswith("paddock_") else found

    time.time = lambda: now() + off(0)
    time.time_ns = lambda: now_ns() + int(off(0) * 1e9)
    time.clock_gettime = lambda clock: get(clock) + (off(1) if clock == time.CLOCK_BOOTTIME else 0.0)
    time.clock_gettime_ns = lambda clock: get_ns(clock) + (int(off(1) * 1e9) if clock == time.CLOCK_BOOTTIME else 0)
    builtins.__import__ = bring


def main() -> None:
    """Entry."""
    file, module = sys.argv.pop(1), sys.argv.pop(1)
    with open(file, "rb") as opened:  # noqa: PTH123 - kept as small as the interpreter's own start
        move(mmap.mmap(opened.fileno(), 16, access=mmap.ACCESS_READ))
    sys.path.pop(0)  # this folder's modules are not the program's
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
