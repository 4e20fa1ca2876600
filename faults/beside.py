"""A second process of a part beside the stack's own: with other settings, moved clocks, a full log."""

import contextlib
import json
import mmap
import signal
import struct
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from paddock_local.bare_kubernetes import free_port
from paddock_local.stack import Stack

START_SECONDS = 60
MODULES = {
    "gateway": "paddock_gateway.main",
    "operator": "paddock_operator.main",
    "controlplane": "paddock_controlplane.main",
}
MOVED = Path(__file__).with_name("moved.py")


class MovedClock:
    """The clocks of processes, off by what is set here, also while they run (see moved.py)."""

    def __init__(self, file: Path) -> None:
        self.file = file
        file.write_bytes(bytes(16))
        with file.open("r+b") as opened:
            self._shared = mmap.mmap(opened.fileno(), 16)

    def set(self, *, wall: float = 0.0, steady: float = 0.0) -> None:
        """Seconds by which the wall clock and the clock since boot are off from now on."""
        self._shared[:] = struct.pack("=dd", wall, steady)


@dataclass
class Beside:
    """A second process of a part, with the part's own settings but for those that are given."""

    stack: Stack
    part: str
    settings: dict[str, str]
    clock: MovedClock | None = None
    log: int | None = None
    """Where it logs to, instead of the stack's log files."""
    pid: int = field(default=0, init=False)
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def start(self) -> None:
        """Start it and wait until its port answers."""
        spec = json.loads(self.stack.paths.spec(self.part).read_text())
        command = self._command(spec["argv"])
        prefix = f"PADDOCK_{self.part.upper()}_"
        environment = {**spec["env"], **{prefix + name: value for name, value in self.settings.items()}}
        with self.stack.paths.log(f"{self.part}-beside").open("ab") as file:
            out = file if self.log is None else self.log
            self._process = subprocess.Popen(command, env=environment, cwd=spec["cwd"], stdout=out, stderr=out)
        self.pid = self._process.pid
        port = self.settings.get("PORT") or self.settings["HEALTH_PORT"]
        deadline = time.monotonic() + START_SECONDS
        while not answers(f"http://127.0.0.1:{port}/healthz"):
            assert self._process.poll() is None, f"{self.part} ended, see {file.name}"
            assert time.monotonic() < deadline, f"{self.part} does not answer, see {file.name}"
            time.sleep(0.1)

    def _command(self, own: list[str]) -> list[str]:
        command = list(own)
        if self.clock is not None:
            python = str(self.stack.paths.venv_bin / "python")
            command = [python, str(MOVED), str(self.clock.file), MODULES[self.part], *own[1:]]
        return command

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(60)
            self._process = None

    def metric(self, name: str) -> float:
        """The sum of a metric's samples, 0 where there is none."""
        port = self.settings["METRICS_PORT" if self.part == "gateway" else "PORT"]
        text = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=10).raise_for_status().text
        lines = (line for line in text.splitlines() if line.partition("{")[0].partition(" ")[0] == name)
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.settings['PORT']}"


@contextlib.contextmanager
def beside(
    stack: Stack,
    part: str,
    name: str,
    *,
    clock: MovedClock | None = None,
    log: int | None = None,
    **settings: str,
) -> Iterator[Beside]:
    """A gateway or control plane beside the stack's own, until the block ends."""
    own: dict[str, str] = {"PORT": str(free_port())}
    if part == "gateway":
        own |= {
            "INSTANCE": name,
            "METRICS_PORT": str(free_port()),
            "INTERNAL_PORT": str(free_port()),
            "CACHE_DIR": str(stack.paths.folder("cache") / name),
        }
    process = Beside(stack=stack, part=part, settings=own | settings, clock=clock, log=log)
    try:
        process.start()
        yield process
    finally:
        process.stop()


def answers(url: str) -> bool:
    """Whether a GET of this address succeeds."""
    try:
        return httpx.get(url, timeout=2).is_success
    except httpx.HTTPError:
        return False
