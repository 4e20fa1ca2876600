"""The operator as a process of its own, on a real API server: for signals, sockets and certificates."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from asyncio import new_event_loop, run_coroutine_threadsafe
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx
from paddock_local.bare_kubernetes import KubeApi, free_port, start
from paddock_local.certificates import Authority

from faults.cluster.stage import Stage, tests_helper

T = TypeVar("T")
PATIENCE_SECONDS = 90.0
PASSED_ON = ("PATH", "PYTHONPATH")
COMMAND = Path(sys.executable).with_name("paddock-operator")


class Scene:
    """The stage's API server, a control plane that licenses acme, and operators on both. Made by `scene`."""

    def __init__(self, *, api: KubeApi, policy: Any, folder: Path, tenant: str) -> None:
        self.api = api
        self.policy = policy
        self.tenant = tenant
        self.folder = folder
        self.pair = Authority(folder, "ca").issue("webhook", name="webhook", hosts=("127.0.0.1", "localhost"))
        self._made: list[Process] = []

    def operator(self, **changes: Any) -> "Process":
        """Start one, and wait until it is ready."""
        number = len(self._made)
        folder = self.folder / f"operator-{number}"
        folder.mkdir()
        (folder / "token").write_text(tests_helper("policy_server").TOKEN)
        (folder / "key").write_text("platform-key-of-the-faults")
        values = {
            "kubeconfig": self.api.kubeconfigs["operator"],
            "controlplane_url": self.policy.url,
            "gateway_url": "http://gateway.test",
            "internal_token_file": folder / "token",
            "platform_key_file": folder / "key",
            "webhook_port": free_port(),
            "webhook_cert_file": self.pair.certificate,
            "webhook_key_file": self.pair.key,
            "health_port": free_port(),
            "serving_image": "registry.test/serving:1",
            "allow_unpinned_images": True,
            "weights_volume": {"emptyDir": {}},
            "cache_dir": folder / "cache",
            "identity": f"faults-{number}",
            "drain_seconds": 0.5,
            **changes,
        }
        process = Process(values, folder / "log")
        self._made.append(process)
        process.start()
        return process

    def apply(self, name: str, **spec: Any) -> None:
        """A LlamaDeployment of the demonstration model."""
        done = self.api.apply(tests_helper("cluster_parts").deployment(name=name, namespace=self.tenant, **spec))
        assert done.returncode == 0, done.stderr

    def get(self, *what: str) -> Any:
        """`kubectl get`, None where it is not there."""
        return tests_helper("cluster_parts").get(self.api, *what)

    def condition(self, name: str, kind: str) -> dict[str, Any]:
        """A condition of a deployment, empty where it has none."""
        found: dict[str, Any] = tests_helper("cluster_parts").condition(self.api, name, kind, self.tenant)
        return found

    def finish_weights(self) -> None:
        """End the weights Job as a node would."""
        job = self.until(
            "a weights Job", lambda: (self.get("jobs", "-n", "paddock-weights") or {}).get("items") or None
        )
        tests_helper("cluster_parts").finish_weights(self.api, job[0]["metadata"]["name"])

    def until(self, what: str, probe: Callable[[], T | None], *, seconds: float = PATIENCE_SECONDS) -> T:
        """Wait for an answer that is not None, nor false."""
        deadline = time.monotonic() + seconds
        while not (found := probe()):
            if time.monotonic() > deadline:
                logs = "\n".join(process.tail() for process in self._made)
                raise AssertionError(f"waited {seconds:.0f} s for {what}: {logs}")
            time.sleep(0.05)
        return found

    def clean(self) -> None:
        """Stop what was started, remove what was made."""
        for process in self._made:
            process.end()
        parts = ("llamadeployments", "--all", "-n", self.tenant)
        patch = json.dumps({"metadata": {"finalizers": None}})
        for item in (self.get(parts[0], "-n", self.tenant) or {}).get("items") or ():
            name = item["metadata"]["name"]
            self.api.kubectl("patch", parts[0], name, "-n", self.tenant, "--type=merge", "-p", patch)
        self.api.kubectl("delete", *parts, "--wait=false")


class Process:
    """`paddock-operator`."""

    def __init__(self, settings: dict[str, Any], log: Path) -> None:
        values = {name: json.dumps(item) if isinstance(item, dict) else str(item) for name, item in settings.items()}
        self.settings = settings
        self._environment = {f"PADDOCK_OPERATOR_{name.upper()}": value for name, value in values.items()}
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        return None if self._process is None else self._process.poll()

    def start(self) -> None:
        """Return once it is ready."""
        environment = {**self._environment, **{name: os.environ[name] for name in PASSED_ON if name in os.environ}}
        with self._log.open("ab") as out:
            self._process = start([str(COMMAND)], output=out, env=environment)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self.is_ready():
            assert self.exit_status is None, self.tail()
            assert time.monotonic() < deadline, self.tail()
            time.sleep(0.1)

    def is_ready(self) -> bool:
        """What /readyz says."""
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"http://127.0.0.1:{self.settings['health_port']}/readyz", timeout=2).is_success
        return False

    def signal(self, number: signal.Signals) -> None:
        """Send it."""
        os.kill(self.pid, number)

    def wait(self, *, seconds: float) -> float:
        """Wait for its end; after how many seconds it came. Raises subprocess.TimeoutExpired."""
        assert self._process is not None
        began = time.monotonic()
        self._process.wait(seconds)
        return time.monotonic() - began

    def end(self) -> None:
        """SIGKILL it if it still runs, stopped or not."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def tail(self) -> str:
        """The end of what it logged."""
        return self._log.read_text()[-1500:] if self._log.exists() else ""


@contextlib.contextmanager
def scene(stage: Stage, *, tenant: str = "acme") -> Iterator[Scene]:
    """A scene until the block ends. `tenant` is acme or globex, and its namespace."""
    api, helper = stage.api(), tests_helper("policy_server")
    for namespace in ("acme", "globex"):
        api.kubectl("create", "namespace", namespace)
    policy, loop, port = helper.PolicyServer(), new_event_loop(), free_port()
    entities = {"acme": "acme-inc", "globex": "globex-ag"}
    policy.put(*helper.registered(), *helper.accepted(entities[tenant]))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    serving = helper.serving(policy, port=port)
    run_coroutine_threadsafe(serving.__aenter__(), loop).result(10)
    made = Scene(api=api, policy=policy, folder=stage.empty("scene"), tenant=tenant)
    try:
        yield made
    finally:
        made.clean()
        run_coroutine_threadsafe(serving.__aexit__(None, None, None), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
