"""What a killed test run has started does not stay."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

SCRIPT = """
import sys, threading, time
from pathlib import Path
from paddock_local.bare_kubernetes import start

def begin():
    with Path(sys.argv[1]).open("wb") as output:
        children.append(start(["sleep", "600"], output=output, start_new_session=True))

children = []
begin()
# The end of a thread that asked for a process is not the end of its parent.
asking = threading.Thread(target=begin)
asking.start()
asking.join()
time.sleep(0.5)
print(*(child.pid for child in children if child.poll() is None), flush=True)
time.sleep(600)
"""


def is_alive(pid: int) -> bool:
    """A process that has ended and that nobody has asked after is not alive."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_what_was_started_in_any_thread_is_killed_with_its_parent(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", SCRIPT, str(tmp_path / "log")], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        children = [int(word) for word in parent.stdout.readline().split()]
        parent.kill()
    deadline = time.monotonic() + 300
    try:
        assert len(children) == 2
        while any(map(is_alive, children)):
            assert time.monotonic() < deadline, "they outlived their parent"
            time.sleep(0.05)
    finally:
        for child in filter(is_alive, children):
            os.kill(child, signal.SIGKILL)
