"""Where a request's CPU time goes in a gateway: samples of py-spy, summed by the part of the program."""

import subprocess
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from metering_world import PROFILER_VERSION, tool

SHOWN = 22
RATE = 250
WAITING = ("_worker (", "_PollLikeSelector.select (", "Journal._write_batches (")
"""Where threads that do nothing stand; the sampler takes a wait inside C for work."""


def where_time_goes(*, pid: int, folder: Path, core: int, load: Callable[[], dict[str, Any]], cpu_us: float) -> str:
    """A table. `load` keeps the process busy for 8 s; `cpu_us` is what a request costs unobserved."""
    try:
        program = tool("tools", f"py-spy=={PROFILER_VERSION}") / "py-spy"
    except (subprocess.SubprocessError, OSError) as error:
        return f"Where the time goes was not measured: py-spy cannot be installed ({error})."
    output = folder / "samples"
    busy = threading.Thread(target=load)
    busy.start()
    command = [str(program), "record", "-p", str(pid), "-d", "6", "-r", str(RATE), "-f", "raw", "-o", str(output)]
    done = subprocess.run(["taskset", "-c", str(core), *command], check=False, capture_output=True, text=True)
    busy.join()
    if done.returncode or not output.exists():
        return f"Where the time goes was not measured: {done.stderr[-200:]!r}"
    return table(output.read_text(), cpu_us)


def table(samples: str, cpu_us: float) -> str:
    """Own time by function: a function's C code, and what it calls of C, is its own."""
    own: Counter[str] = Counter()
    for line in samples.splitlines():
        stack, _, count = line.rpartition(" ")
        if stack.split(";")[-1].startswith(WAITING):
            continue
        own[_named(stack.split(";")[-1])] += int(count)
    total = sum(own.values()) or 1
    lines = ["| where the time goes | share | µs a request |", "|---|---|---|"]
    shown = own.most_common(SHOWN)
    for name, count in [*shown, ("everything else", total - sum(count for _, count in shown))]:
        lines.append(f"| {name} | {count / total:.1%} | {count / total * cpu_us:.0f} |")
    return "\n".join(
        [
            *lines,
            "",
            f"{total} samples of py-spy {PROFILER_VERSION} of own time; `write_durably` is a wait for the disk.",
        ]
    )


def _named(frame: str) -> str:
    """`function (path/file.py:12)`, the path cut to its package, the line left out."""
    name, _, place = frame.rpartition(" (")
    path = place.rstrip(")").rpartition(":")[0]
    short = "/".join(Path(path).parts[-2:])
    return f"`{name}` in {short}"
