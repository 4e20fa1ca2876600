"""What the first process of a container owes the others: it passes signals on, and buries the dead."""

import contextlib
import os
import signal
import subprocess
from pathlib import Path
from types import FrameType
from typing import Final

POLL_SECONDS: Final = 0.1


class Termination:
    """Set once this process was asked to end. The first process of a container has no default for it."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self.asked = True


def bury(*, spare: subprocess.Popen[bytes]) -> None:
    """Reap processes whose parents went before them, but not the child that is waited for elsewhere."""
    with contextlib.suppress(ChildProcessError):
        while True:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended is None or ended.si_pid == spare.pid:
                return
            os.waitpid(ended.si_pid, 0)


def children(pid: int) -> set[int]:
    """Children of a process; none if it is gone."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    except OSError:
        return set()
    return {int(word) for word in text.split()}


def alive(pid: int) -> bool:
    """True if the process exists and is not only waiting to be buried."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state != "Z"


def end(process: subprocess.Popen[bytes], *, within: float) -> None:
    """Ask a child to end, unless it has, and kill it if it does not."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(timeout=within)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
