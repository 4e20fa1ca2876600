"""Real gateways before a real control plane on a real PostgreSQL; stand-ins only for Kubernetes and Triton.

The parts come from the fixtures of the command's and the gateway's tests.
"""

import asyncio
import hashlib
import importlib.util
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import msgspec
import openai
import pytest
from aiohttp import web
from paddock_core.serving.contract import deployment_secret
from paddock_core.serving.tokenizer_document import encode_document


def _load(part: str) -> ModuleType:
    path = Path(__file__).parents[1] / part / "conftest.py"
    spec = importlib.util.spec_from_file_location(f"conftest_of_{part}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


_cli, _gateway = _load("cli"), _load("gateway")
database, paddock, acme = _cli.database, _cli.paddock, _cli.acme
PERSON = (
    *("--name", "Ada Lovelace", "--title", "General Counsel", "--email", "ada@acme.example"),
    *("--authority", "board resolution", "--jurisdiction", "us", "--mau-band", "le_700m", "--flow-down", "--agree"),
)


def _accept(shell: Any, entity: str, role: str) -> None:
    words = ("--entity", entity, "--role", role, "--signatory", "Ada Lovelace <ada@acme.example>")
    made = shell.read("license", "offer", "--license", "paddock-demo", *words)
    shell("license", "accept", "--token", made["signatory_token"], *PERSON)


@pytest.fixture(scope="session")
def key(paddock: Any, acme: Any) -> str:
    """An API key of a tenant that may call `acme-team/demo`."""
    _accept(paddock, "platform-inc", "operator")
    _accept(acme, "acme-inc", "deployer")
    paddock("tenant", "namespace", "add", "acme", "acme-team")
    return str(acme.read("key", "create", "--tenant", "acme")["key"])


@dataclass
class Stage:
    """What gateways need around them, and the gateways that were started."""

    folder: Path
    shell: Any
    key: str
    kubeconfig: Path
    processes: list[asyncio.subprocess.Process] = field(default_factory=list)

    async def gateway(self, name: str, **extra: str) -> "Running":
        """Start a gateway process and wait until it serves."""
        port = _gateway.free_port()
        home = self.shell.home
        settings = {
            "PORT": str(port),
            "METRICS_PORT": str(_gateway.free_port()),
            "INTERNAL_PORT": str(_gateway.free_port()),
            "CONTROLPLANE_URL": self.shell.url,
            "INTERNAL_TOKEN_FILE": str(home / "internal_token"),
            "PLATFORM_KEY_FILE": str(home / "platform_key"),
            "KUBECONFIG": str(self.kubeconfig),
            "JOURNAL_DIR": str(self.folder / f"journal-{name}"),
            "CACHE_DIR": str(self.folder / f"cache-{name}"),
            "INSTANCE": name,
            "SHIP_LINGER_SECONDS": "0.01",
            **extra,
        }
        environment = {"PATH": os.environ["PATH"]} | {
            f"PADDOCK_GATEWAY_{word}": text for word, text in settings.items()
        }
        log = self.folder / f"{name}.log"
        with log.open("ab") as file:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "paddock_gateway.main", env=environment, stderr=file
            )
        self.processes.append(process)
        running = Running(process=process, url=f"http://127.0.0.1:{port}", key=self.key, log=log)
        await running.ready()
        return running


@dataclass
class Running:
    """A gateway process."""

    process: asyncio.subprocess.Process
    url: str
    key: str
    log: Path

    async def ready(self) -> None:
        async with asyncio.timeout(300), httpx.AsyncClient() as http:
            while True:
                assert self.process.returncode is None, self.log.read_text()
                try:
                    if (await http.get(f"{self.url}/readyz")).is_success:
                        return
                except httpx.TransportError:
                    pass
                await asyncio.sleep(0.05)

    async def ask(self, *users: str) -> None:
        """One request for each of these users, with OpenAI's own SDK."""
        async with openai.AsyncOpenAI(api_key=self.key, base_url=f"{self.url}/v1", max_retries=5) as client:
            for user in users:
                messages: Any = [{"role": "user", "content": "hello"}]
                await client.chat.completions.create(
                    model="acme-team/demo", messages=messages, max_tokens=1, safety_identifier=user
                )

    async def kill(self) -> None:
        """As the kernel does it: nothing is finished, nothing is sent."""
        self.process.kill()
        await self.process.wait()

    async def stop(self) -> None:
        """In good order."""
        self.process.send_signal(signal.SIGTERM)
        assert await self.process.wait() == 0, self.log.read_text()


@pytest.fixture
async def stage(paddock: Any, key: str, tmp_path: Path) -> AsyncIterator[Stage]:
    """The surroundings of gateways."""
    runners: list[web.AppRunner] = []
    document = encode_document(_gateway.byte_tokenizer())
    digest = hashlib.sha256(document).hexdigest()
    artifacts = paddock.home / "artifacts"
    artifacts.mkdir(exist_ok=True)
    (artifacts / digest).write_bytes(document)
    platform_key = (paddock.home / "platform_key").read_text().strip().encode()
    secret = deployment_secret(platform_key=platform_key, deployment_uid="uid-demo", rotation=0)
    triton = await _gateway.start(_gateway.Triton(secret=secret).app(), runners)
    demo = _gateway.deployment(name="demo", digest=f"sha256:{digest}", endpoints=[triton])
    cluster = await _gateway.start(_gateway.KubernetesApi({"demo": demo}).app(), runners)
    kubeconfig = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": cluster}}],
        "users": [{"name": "test", "user": {}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
    }
    (tmp_path / "kubeconfig").write_bytes(msgspec.yaml.encode(kubeconfig))
    stage = Stage(folder=tmp_path, shell=paddock, key=key, kubeconfig=tmp_path / "kubeconfig")
    yield stage
    for process in stage.processes:
        if process.returncode is None:
            process.kill()
            await process.wait()
    for runner in runners:
        await runner.cleanup()
