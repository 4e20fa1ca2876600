"""What the runtime knows of pods and containers.

Files say it, memory repeats it: a new runtime reads the files and goes on.
"""

import base64
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paddock_local.cri import tree
from paddock_local.cri.files import read_json, write_json

LOST_EXIT_CODE = 137


@dataclass
class Sandbox:
    """One pod: a name and an address. It has no process."""

    id: str
    config: Any
    address: str
    created_at: int
    ready: bool


@dataclass
class Container:
    """One container; times in nanoseconds since 1970."""

    id: str
    sandbox_id: str
    config: Any
    image_id: str
    created_at: int
    folder: Path
    pid: int = 0
    shim: int = 0
    namespace: str = ""
    started_at: int = 0
    finished_at: int = 0
    exit_code: int = 0
    # Why it could not be started; empty for one that ran.
    problem: str = ""

    @property
    def running(self) -> bool:
        """Started and not ended."""
        return bool(self.started_at) and not self.finished_at

    def refresh(self) -> None:
        """Read again what the shim wrote. A shim that vanished without a word means that the container was lost."""
        running, ended = read_json(self.folder / "running.json"), read_json(self.folder / "exit.json")
        if running:
            self.pid, self.shim = running["pid"], running["shim"]
            self.namespace, self.started_at = running["namespace"], running["started_at"]
        if ended:
            self.exit_code, self.finished_at = ended["code"], ended["finished_at"]
            self.problem = ended.get("problem", "")
        elif running and tree.start_time(self.shim) != running["shim_started"]:
            self._lost()

    def _lost(self) -> None:
        # Asked again, since the shim may have written its last word between the two looks.
        ended = read_json(self.folder / "exit.json")
        if not ended:
            if self.namespace:
                tree.kill_all(self.namespace)
            ended = {"code": LOST_EXIT_CODE, "finished_at": max(self.started_at, 1)}
            write_json(self.folder / "exit.json", ended)
        self.exit_code, self.finished_at = ended["code"], ended["finished_at"]


def encode(message: Any) -> str:
    """A protobuf message as text."""
    return base64.b64encode(message.SerializeToString()).decode()


class Store:
    """Pods and containers below one folder. `messages` is the module of CRI's messages."""

    def __init__(self, folder: Path, messages: Any) -> None:
        self._messages = messages
        self._sandboxes = folder / "sandboxes"
        self._containers = folder / "containers"
        self._counter = folder / "last-address.json"
        for part in (self._sandboxes, self._containers):
            part.mkdir(parents=True, exist_ok=True)
        self.sandboxes = {file.stem: self._read_sandbox(file) for file in self._sandboxes.glob("*.json")}
        self.containers = {
            file.parent.name: self._read_container(file) for file in self._containers.glob("*/container.json")
        }

    def _read_sandbox(self, file: Path) -> Sandbox:
        data = read_json(file)
        config = self._messages.PodSandboxConfig.FromString(base64.b64decode(data.pop("config")))
        return Sandbox(id=file.stem, config=config, **data)

    def _read_container(self, file: Path) -> Container:
        data = read_json(file)
        config = self._messages.ContainerConfig.FromString(base64.b64decode(data.pop("config")))
        container = Container(id=file.parent.name, config=config, folder=file.parent, **data)
        container.refresh()
        return container

    @property
    def last_address(self) -> int:
        """Where the numbering of pod addresses stood."""
        return int((read_json(self._counter) or {"last": 0})["last"])

    def container_folder(self, container_id: str) -> Path:
        """Where a container's files are."""
        return self._containers / container_id

    def save_sandbox(self, sandbox: Sandbox, *, last_address: int | None = None) -> None:
        """Write a pod down."""
        if last_address is not None:
            write_json(self._counter, {"last": last_address})
        data = {
            "config": encode(sandbox.config),
            "address": sandbox.address,
            "created_at": sandbox.created_at,
            "ready": sandbox.ready,
        }
        write_json(self._sandboxes / f"{sandbox.id}.json", data)
        self.sandboxes[sandbox.id] = sandbox

    def save_container(self, container: Container) -> None:
        """Write a container down, as it was created."""
        container.folder.mkdir()
        data = {
            "config": encode(container.config),
            "sandbox_id": container.sandbox_id,
            "image_id": container.image_id,
            "created_at": container.created_at,
        }
        write_json(container.folder / "container.json", data)
        self.containers[container.id] = container

    def forget_sandbox(self, sandbox_id: str) -> Sandbox | None:
        """Remove a pod's file."""
        (self._sandboxes / f"{sandbox_id}.json").unlink(missing_ok=True)
        return self.sandboxes.pop(sandbox_id, None)

    def forget_container(self, container_id: str) -> None:
        """Remove a container's files."""
        container = self.containers.pop(container_id, None)
        if container:
            shutil.rmtree(container.folder, ignore_errors=True)

    def containers_of(self, sandbox_id: str) -> list[Container]:
        """A pod's containers."""
        return [container for container in self.containers.values() if container.sandbox_id == sandbox_id]
