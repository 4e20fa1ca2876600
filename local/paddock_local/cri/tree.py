"""Finding and ending the processes of a container.

A container is a mount namespace: whatever lives in it belongs to it.
"""

import os
import signal
import time
from pathlib import Path

from paddock_local import namespaces

KILL_PATIENCE_S = 5.0


def start_time(pid: int) -> int | None:
    """When the process started, in clock ticks after boot; with the id it names a process for good.

    None when it ended.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def members(mount_namespace: str) -> list[int]:
    """Processes that live in the container."""
    return [pid for pid in namespaces.processes() if namespaces.namespace_of(pid, "mnt") == mount_namespace]


def kill_all(mount_namespace: str, *, patience_s: float = KILL_PATIENCE_S) -> bool:
    """SIGKILL every process of the container, also those that are born meanwhile. False when some would not go."""
    deadline = time.monotonic() + patience_s
    while found := [pid for pid in members(mount_namespace) if start_time(pid) is not None]:
        for pid in found:
            signal_process(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def signal_process(pid: int, number: int) -> bool:
    """Send a signal; False when the process is gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True
