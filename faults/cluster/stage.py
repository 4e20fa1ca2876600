"""Where faults are played: what is dear to start is started once, at the first fault that asks for it."""

import contextlib
import random
import ssl
import tempfile
from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import httpx
from paddock_local import bare_kubernetes
from paddock_local.bare_kubernetes import KubeApi


class Stage:
    """A folder, a seed, and a real API server for those that want one. Made by `stage()`."""

    def __init__(self, *, folder: Path, seed: int, stack: contextlib.ExitStack) -> None:
        self.folder = folder
        self.seed = seed
        self._stack = stack
        self._api: KubeApi | None = None
        self._made = Counter[str]()
        self.base_port = 0
        """First of a block of ports; the API server has the first three, the rest is free (see bare_kubernetes)."""

    def random(self, name: str = "") -> random.Random:
        """Chance that the seed makes the same again."""
        return random.Random(f"{self.seed}/{name}")

    def api(self) -> KubeApi:
        """A real etcd and kube-apiserver with Paddock's resources; the same for all faults of a run."""
        if self._api is None:
            self.base_port = self._stack.enter_context(bare_kubernetes.free_ports())
            folder = self.folder / "kubernetes"
            folder.mkdir()
            self._api = self._stack.enter_context(bare_kubernetes.running_api(folder, base_port=self.base_port))
        return self._api

    def empty(self, name: str) -> Path:
        """A new folder, whose name the seed makes the same again: what a world draws comes from it."""
        self._made[name] += 1
        folder = self.folder / f"{name}-{self.seed}-{self._made[name]}"
        folder.mkdir()
        return folder


def http_of(api: KubeApi) -> httpx.Client:
    """An HTTP client of an API server, as its administrator: for what would take kubectl too long."""
    context = ssl.create_default_context(cafile=str(api.folder / "certs" / "apiserver.crt"))
    token = {"Authorization": "Bearer admin-token"}
    return httpx.Client(base_url=api.url, verify=context, headers=token, timeout=30, trust_env=False)


@contextlib.contextmanager
def stage(*, seed: int) -> Iterator[Stage]:
    """A stage until the block ends."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="paddock-faults-")))
        yield Stage(folder=folder, seed=seed, stack=stack)


def tests_helper(name: str) -> ModuleType:
    """A helper of the operator's tests: `cluster_parts`, `policy_server`, ..."""
    return import_module(f"tests.operator.{name}")
