"""What a killed test run has started does not stay."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

SCRIPT = """
import subprocess, sys, time
from pathlib import Path
from paddock_local.bare_kubernetes import start
with Path(sys.argv[1]).open("wb") as output:
    child = start(["sleep", "600"], output=output, start_new_session=True)
print(child.pid, flush=True)
time.sleep(600)
"""


def is_alive(pid: int) -> bool:
    """A process that has ended and that nobody has asked after is not alive."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_what_was_started_is_killed_with_its_parent(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", SCRIPT, str(tmp_path / "log")], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert is_alive(child)
        parent.kill()
    deadline = time.monotonic() + 60
    try:
        while is_alive(child):
            assert time.monotonic() < deadline, "it outlived its parent"
            time.sleep(0.05)
    finally:
        if is_alive(child):
            os.kill(child, signal.SIGKILL)
