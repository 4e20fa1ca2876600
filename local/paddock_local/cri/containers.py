"""Starting, stopping and watching containers through their shims."""

import asyncio
import json
import os
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from paddock_local.cri import tree
from paddock_local.cri.files import write_json
from paddock_local.cri.images import Image
from paddock_local.cri.rootfs import Mount, RootPlan
from paddock_local.cri.shim import CANNOT_START
from paddock_local.cri.store import Container, Store

START_PATIENCE_S = 60.0
KILL_PATIENCE_S = 10.0
MAX_EXEC_OUTPUT = 16 * 1024 * 1024


def environment(image: Image, config: Any) -> dict[str, str]:
    """The image's variables, then the container's: nothing of the node's own."""
    # The field has been text and bytes in different releases of CRI.
    given = {entry.key: entry.value for entry in config.envs}
    return image.env | {key: os.fsdecode(value) for key, value in given.items()}


def arguments(image: Image, config: Any) -> list[str]:
    """What to execute: the pod's command, else the image's, then the pod's arguments."""
    return [*(list(config.command) or image.entrypoint), *config.args]


def absent_sources(config: Any) -> list[str]:
    """Volumes of a container that are not there to be mounted."""
    return [mount.host_path for mount in config.mounts if not Path(mount.host_path).exists()]


class Containers:
    """All containers of the node."""

    def __init__(self, store: Store, *, marker: str, visible: list[str], hidden: list[str]) -> None:
        self._store = store
        self._marker = marker
        self._visible = visible
        self._hidden = hidden
        self._ended: dict[str, asyncio.Event] = {}

    def adopt(self) -> int:
        """Watch the containers that an earlier runtime started. Returns how many still run."""
        running = [container for container in self._store.containers.values() if container.running]
        for container in running:
            self._watch(container)
        return len(running)

    def shim_spec(self, container: Container, image: Image, log_folder: str) -> dict[str, Any]:
        """All that the shim needs to know."""
        config = container.config
        root = container.folder / "root"
        root.mkdir(exist_ok=True)
        mounts = [Mount(source=m.host_path, target=m.container_path, read_only=m.readonly) for m in config.mounts]
        plan = RootPlan(root=str(root), marker=self._marker, visible=self._visible, hidden=self._hidden, mounts=mounts)
        return {
            "argv": arguments(image, config),
            "env": environment(image, config),
            "cwd": config.working_dir or image.workdir,
            "log": str(Path(log_folder, config.log_path)),
            "root": asdict(plan),
        }

    async def start(self, container: Container, spec: dict[str, Any]) -> None:
        """Start a created container.

        Raises OSError with the reason when its process could not be started; the container counts as ended then.
        """
        try:
            await self._start(container, spec)
        except (OSError, ValueError) as problem:
            # Without this the kubelet would try again at once and for ever, instead of backing off.
            write_json(
                container.folder / "exit.json", {"code": CANNOT_START, "finished_at": now(), "problem": str(problem)}
            )
            container.refresh()
            raise

    async def _start(self, container: Container, spec: dict[str, Any]) -> None:
        write_json(container.folder / "spec.json", spec)
        shim = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "paddock_local.cri.shim", str(container.folder),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        assert shim.stdout is not None  # noqa: S101 - asked for with PIPE
        line = await asyncio.wait_for(shim.stdout.readline(), START_PATIENCE_S)
        answer = json.loads(line or b'{"error": "its shim ended"}')
        if "error" in answer:
            raise OSError(answer["error"])
        container.refresh()
        if container.running:
            self._watch(container)

    def _watch(self, container: Container) -> None:
        ended = self._ended[container.id] = asyncio.Event()
        loop = asyncio.get_running_loop()
        try:
            file = os.pidfd_open(container.shim)
        except ProcessLookupError:
            container.refresh()
            ended.set()
            return

        def shim_ended() -> None:
            loop.remove_reader(file)
            os.close(file)
            container.refresh()
            ended.set()

        loop.add_reader(file, shim_ended)

    async def stop(self, container: Container, grace_s: float) -> None:
        """SIGTERM, and SIGKILL for the whole tree when it still runs after `grace_s` seconds.

        Raises TimeoutError when even that does not end it.
        """
        if not container.running:
            return
        ended = self._ended[container.id]
        if grace_s > 0:
            tree.signal_process(container.pid, signal.SIGTERM)
            try:
                await asyncio.wait_for(ended.wait(), grace_s)
            except TimeoutError:
                pass
            else:
                return
        await asyncio.to_thread(tree.kill_all, container.namespace)
        await asyncio.wait_for(ended.wait(), KILL_PATIENCE_S)

    async def remove(self, container: Container) -> None:
        """End it if need be and forget it."""
        if not container.started_at:
            # An earlier runtime may have died while it was starting this one.
            container.refresh()
            if container.running:
                self._watch(container)
        await self.stop(container, 0)
        self._ended.pop(container.id, None)
        self._store.forget_container(container.id)

    def reopen_log(self, container: Container) -> None:
        """The kubelet renamed the log: have the shim start a new one."""
        tree.signal_process(container.shim, signal.SIGHUP)

    async def execute(
        self, container: Container, image: Image, argv: list[str], timeout_s: float
    ) -> tuple[int, bytes, bytes]:
        """Run a command in the container; exit code, output and errors.

        Raises TimeoutError after `timeout_s` seconds (0: no limit).
        """
        spec = {
            "pid": container.pid,
            "argv": argv,
            "env": environment(image, container.config),
            "cwd": container.config.working_dir or image.workdir,
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "paddock_local.cri.enter", json.dumps(spec), start_new_session=True,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            output, errors = await asyncio.wait_for(process.communicate(), timeout_s or None)
        except TimeoutError:
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            raise
        return process.returncode or 0, output[:MAX_EXEC_OUTPUT], errors[:MAX_EXEC_OUTPUT]


def usage(container: Container) -> tuple[int, int]:
    """CPU time in nanoseconds and resident memory in bytes of a container's living processes."""
    tick_ns, page = 1_000_000_000 // os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    cpu = memory = 0
    for pid in tree.members(container.namespace):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        cpu += sum(int(value) for value in fields[11:15]) * tick_ns
        memory += int(fields[21]) * page
    return cpu, memory


def now() -> int:
    """Nanoseconds since 1970."""
    return time.time_ns()
