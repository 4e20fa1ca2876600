"""Finding and ending every process of a stack, also those that a crash left behind, by what they carry."""

import os
import signal
import time
from pathlib import Path

from paddock_local import namespaces
from paddock_local.cri.tree import signal_process, start_time
from paddock_local.errors import StackError
from paddock_local.paths import StackPaths
from paddock_local.programs import STACK_VARIABLE

PATIENCE_S = 10.0


def containers(marker: str) -> list[int]:
    """Processes inside the stack's containers."""
    return namespaces.with_mount(f"{marker}-pod")


def inside_node(marker: str) -> list[int]:
    """Processes in the node's namespace or in a container: shims too."""
    return namespaces.with_mount(marker)


def programs(paths: StackPaths) -> list[int]:
    """Programs that were started for the stack, by a variable in their environment; not ourselves."""
    wanted = f"{STACK_VARIABLE}={paths.root}".encode()
    found = []
    for pid in namespaces.processes():
        if pid == os.getpid():
            continue
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            continue
        if wanted in environment.split(b"\0"):
            found.append(pid)
    return found


def everything(paths: StackPaths) -> list[int]:
    """Every living process of the stack."""
    found = {*inside_node(f"paddock-{paths.digest}"), *programs(paths)}
    return sorted(pid for pid in found if start_time(pid) is not None)


def end_containers(paths: StackPaths) -> None:
    """End the containers: a moment for SIGTERM, then SIGKILL; their shims end by themselves."""
    marker = f"paddock-{paths.digest}"
    for pid in containers(marker):
        signal_process(pid, signal.SIGTERM)
    deadline = time.monotonic() + 2.0
    while containers(marker) and time.monotonic() < deadline:
        time.sleep(0.05)
    for pid in containers(marker):
        signal_process(pid, signal.SIGKILL)


def end_all(paths: StackPaths) -> None:
    """SIGKILL whatever is left.

    Raises StackError naming the processes that would not go.
    """
    deadline = time.monotonic() + PATIENCE_S
    while left := everything(paths):
        if time.monotonic() > deadline:
            raise StackError(f"these processes of the stack do not end: {', '.join(map(str, left))}; end them by hand")
        for pid in left:
            signal_process(pid, signal.SIGKILL)
        time.sleep(0.05)
