"""The operator as a process of its own, as `bench/scale.py` starts, stops and looks at it."""

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import aiohttp
from paddock_local.bare_kubernetes import start
from scale_world import make_certificate

Metrics = dict[str, float]
OPERATOR, BARE, OURSELVES = "operator", "bare client", "this program (followers, Triton, gateway)"
BEGIN = time.monotonic()


def note(text: str) -> None:
    """What goes on, for people who wait; standard output is the table's."""
    print(f"[{time.monotonic() - BEGIN:5.0f} s] {text}", file=sys.stderr, flush=True)


async def yardstick() -> float:
    """Seconds that a fixed piece of arithmetic takes on all cores at once: how fast the machine is just now."""
    begin = time.monotonic()
    command = (sys.executable, "-S", "-c", "for _ in range(40_000_000): pass")
    workers = [await asyncio.create_subprocess_exec(*command) for _ in range(os.cpu_count() or 1)]
    await asyncio.gather(*(worker.wait() for worker in workers))
    return time.monotonic() - begin


def cpu_of_all() -> dict[str, float]:
    """CPU seconds so far of this program and of each that it has started and that still runs, by name."""
    found: dict[str, float] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            # It has ended meanwhile.
            continue
        if folder.name == str(os.getpid()):
            found[OURSELVES] = _seconds(fields)
        elif int(fields[1]) == os.getpid() and words[0]:
            found[_named(words)] = _seconds(fields)
    return found


def _named(words: list[str]) -> str:
    """What a program is called: of the one binary that is several, its first argument."""
    program = Path(words[0]).name
    if program == "kubernetes":
        return words[1]
    if any(word.endswith("scale_writer.py") for word in words):
        return BARE
    return OPERATOR if any("paddock_operator" in word for word in words) else program


def _seconds(fields: list[str]) -> float:
    """User and system time, of what /proc tells of a process after its name."""
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class OperatorProcess:
    """`paddock-operator`; `port` is its webhook's, the next one its health's."""

    def __init__(
        self,
        *,
        kubeconfig: Path,
        folder: Path,
        port: int,
        policy_url: str,
        token: str,
        gateway_url: str,
        profile: Path | None = None,
    ) -> None:
        make_certificate(folder / "operator")
        (folder / "token").write_text(token)
        (folder / "key").write_text("platform-key-of-the-benchmark")
        self._profile = profile
        self._log = folder / "operator.log"
        self._health = f"http://127.0.0.1:{port + 1}"
        self._process: subprocess.Popen[bytes] | None = None
        self._most_mb = 0.0
        self._settings = {
            "KUBECONFIG": str(kubeconfig),
            "CONTROLPLANE_URL": policy_url,
            "GATEWAY_URL": gateway_url,
            "GATEWAY_INTERNAL_URLS": json.dumps([gateway_url]),
            "INTERNAL_TOKEN_FILE": str(folder / "token"),
            "PLATFORM_KEY_FILE": str(folder / "key"),
            "WEBHOOK_PORT": str(port),
            "WEBHOOK_CERT_FILE": str(folder / "operator" / "tls.crt"),
            "WEBHOOK_KEY_FILE": str(folder / "operator" / "tls.key"),
            "HEALTH_PORT": str(port + 1),
            "SERVING_IMAGE": "registry.test/serving:1",
            "ALLOW_UNPINNED_IMAGES": "true",
            "WEIGHTS_VOLUME": json.dumps({"emptyDir": {}}),
            "CACHE_DIR": str(folder / "cache"),
        }

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self, **settings: str) -> None:
        """Start it, with these settings beside its own, and wait until it is ready."""
        found = {f"PADDOCK_OPERATOR_{name}": value for name, value in {**self._settings, **settings}.items()}
        kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
        # Written over at each end: the last start's is kept.
        profiler = [] if self._profile is None else ["-m", "cProfile", "-o", str(self._profile)]
        command = [sys.executable, *profiler, "-m", "paddock_operator.main"]
        with self._log.open("ab") as log:
            self._process = start(command, output=log, env={**kept, **found})
        async with aiohttp.ClientSession() as session:
            deadline = time.monotonic() + 120
            while not await self._is_ready(session):
                assert self._process.poll() is None, f"the operator ended: {self._log}"
                assert time.monotonic() < deadline, "the operator is not ready"
                await asyncio.sleep(0.2)

    async def _is_ready(self, session: aiohttp.ClientSession) -> bool:
        try:
            async with session.get(f"{self._health}/readyz") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    async def stop(self) -> None:
        """End it, if it runs."""
        if self._process is not None and self._process.poll() is None:
            self._most_mb = max(self._most_mb, self._resident_mb())
            self._process.terminate()
            await asyncio.to_thread(self._process.wait)
        self._process = None

    def take_most_mb(self) -> float:
        """Resident memory at its highest in all lives that were stopped since this was last asked; 10^6 bytes."""
        most, self._most_mb = self._most_mb, 0.0
        return most

    def cpu_seconds(self) -> float:
        """User and system time."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return _seconds(fields)

    def _resident_mb(self) -> float:
        rows = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return int(next(row for row in rows if row.startswith("VmHWM")).split()[1]) * 1024 / 1e6

    def descriptors(self) -> int:
        """Open files and connections."""
        return sum(1 for _ in Path(f"/proc/{self.pid}/fd").iterdir())

    async def metrics(self) -> Metrics:
        """Its own metrics, by name and labels as they are written."""
        async with aiohttp.ClientSession() as session, session.get(f"{self._health}/metrics") as answer:
            lines = (await answer.text()).splitlines()
        found: Metrics = {}
        for line in lines:
            if not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                # Metrics without labels of their own still carry those of the library that made them.
                bucket = name.partition('le="')[2].partition('"')[0]
                bare = name.partition("{")[0]
                found[f"{bare}/{bucket}" if bucket else bare] = float(value)
        return found


def quantile(before: Metrics, after: Metrics, name: str, share: float) -> float:
    """Upper bound of the bucket of a histogram in which so large a share of what came in between lies."""
    start = f"{name}_bucket/"
    counts = sorted(
        (float(key.removeprefix(start)), value - before.get(key, 0.0))
        for key, value in after.items()
        if key.startswith(start)
    )
    if not counts:
        return float("nan")
    total = counts[-1][1]
    return next(bound for bound, count in counts if count >= share * total)
