"""Fixtures: a real API server, the control plane's internal API, and the operator between them."""

import asyncio
import base64
import contextlib
import datetime as dt
import ipaddress
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from paddock_core.resources.conditions import ConditionType, Finding
from paddock_core.resources.reasons import packaged_reasons
from paddock_local import bare_kubernetes, simulation
from paddock_local.paths import find_checkout
from paddock_local.progress import Progress
from paddock_operator.settings import OperatorSettings

# Offsets in the block of ports that a run has to itself; etcd and the API server have the first three.
POLICY, WEBHOOK, HEALTH, SECOND_WEBHOOK, SECOND_HEALTH = 4, 5, 6, 7, 8
REPEATING = (ConditionType.PROGRESSING, ConditionType.DEGRADED)
"""Conditions that show the reasons of others."""


@pytest.fixture(scope="session")
def unlisted() -> Iterator[set[tuple[str, str]]]:
    """Conditions and reasons that were found, in this process, and that the table of reasons does not have together."""
    table, made, seen = packaged_reasons().reasons, Finding.__init__, set[tuple[str, str]]()

    def noting(finding: Finding, **fields: Any) -> None:
        made(finding, **fields)
        row = table.get(finding.reason)
        if finding.type not in REPEATING and (row is None or finding.type not in row.on):
            seen.add((str(finding.type), str(finding.reason)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Finding, "__init__", noting)
        yield seen


@pytest.fixture(autouse=True)
def every_reason_is_in_the_table(unlisted: set[tuple[str, str]]) -> Iterator[None]:
    """What a test brings forth is what people are told in the table of reasons."""
    unlisted.clear()
    yield
    assert not unlisted, "reasons.yaml lacks these conditions in `on` of these reasons"


@pytest.fixture(scope="session")
def helpers() -> Any:
    """The module `policy_server`."""
    return import_module("tests.operator.policy_server")


@pytest.fixture(scope="session")
def pairs() -> Any:
    """The module `pairs`: models on GPUs, rendered."""
    return import_module("tests.operator.pairs")


@pytest.fixture(scope="session")
def worlds() -> Any:
    """The module `worlds`: a cluster for decisions alone."""
    return import_module("tests.operator.worlds")


@pytest.fixture(scope="session")
def optional_kinds() -> Any:
    """The module `optional_kinds`: custom resource definitions of other projects."""
    return import_module("tests.operator.optional_kinds")


@pytest.fixture(scope="session")
def cluster_helpers() -> Any:
    """The module `cluster_parts`: plays the controllers that do not run here."""
    return import_module("tests.operator.cluster_parts")


@pytest.fixture(scope="session")
def base_port() -> Iterator[int]:
    """The first port of a block that nobody else uses, so that two runs may go on at once."""
    with bare_kubernetes.free_ports() as base:
        yield base


@pytest.fixture
def second_ports(base_port: int) -> dict[str, str]:
    """Settings of a second operator beside the first."""
    return {"webhook_port": str(base_port + SECOND_WEBHOOK), "health_port": str(base_port + SECOND_HEALTH)}


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory, base_port: int) -> Iterator[Any]:
    """A real etcd and kube-apiserver."""
    with bare_kubernetes.running_api(tmp_path_factory.mktemp("kubernetes"), base_port=base_port) as running:
        for namespace in ("acme", "globex", "nobody"):
            done = running.kubectl("create", "namespace", namespace)
            assert done.returncode == 0, done.stderr
        yield running


@pytest.fixture(scope="session")
def group_api(api: Any) -> None:
    """LeaderWorkerSet's own custom resource, without its controller."""
    lws = simulation.lws_manifests(find_checkout(), progress=Progress())
    definitions = [item for item in lws if item["kind"] == "CustomResourceDefinition"]
    for definition in definitions:
        definition["spec"].pop("conversion", None)
    assert api.apply(*definitions).returncode == 0
    for definition in definitions:
        name = f"crd/{definition['metadata']['name']}"
        assert api.kubectl("wait", "--for=condition=Established", name, "--timeout=60s").returncode == 0
    deadline = time.monotonic() + 60.0
    while api.kubectl("get", "leaderworkersets", "-A", user="operator").returncode != 0:
        assert time.monotonic() < deadline, "the API server does not serve the kind that it took"
        time.sleep(0.2)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, and its key."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "paddock-operator")])
    now = dt.datetime.now(dt.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("certificate")
    (folder / "tls.crt").write_bytes(built.public_bytes(serialization.Encoding.PEM))
    (folder / "tls.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "tls.crt", folder / "tls.key"


@pytest.fixture
def webhook(api: Any, certificate: tuple[Path, Path], settings: OperatorSettings) -> Iterator[None]:
    """The chart's own configuration of the webhook, pointed at the operator of these tests."""
    document = yaml.safe_load((find_checkout() / "charts/paddock/files/webhook.yaml").read_text())
    for hook in document["webhooks"]:
        hook["clientConfig"] = {
            "url": f"https://127.0.0.1:{settings.webhook_port}{hook['clientConfig']['service']['path']}",
            "caBundle": base64.b64encode(certificate[0].read_bytes()).decode(),
        }
    done = api.apply(document)
    assert done.returncode == 0, done.stderr
    yield
    api.kubectl("delete", "validatingwebhookconfiguration", "paddock-operator")


@pytest.fixture
async def policy(helpers: Any, base_port: int) -> AsyncIterator[Any]:
    """The control plane's internal API: the platform is licensed, the tenants are not yet."""
    server = helpers.PolicyServer()
    server.put(*helpers.registered())
    async with helpers.serving(server, port=base_port + POLICY) as running:
        yield running


@pytest.fixture
def settings(
    api: Any, certificate: tuple[Path, Path], tmp_path: Path, helpers: Any, base_port: int
) -> OperatorSettings:
    """Settings of an operator for these tests; waits are short."""
    (tmp_path / "internal-token").write_text(helpers.TOKEN)
    (tmp_path / "platform-key").write_text("platform-key-of-the-tests")
    return OperatorSettings(
        kubeconfig=api.kubeconfigs["operator"],
        controlplane_url=f"http://127.0.0.1:{base_port + POLICY}",
        gateway_url="http://gateway.test",
        internal_token_file=tmp_path / "internal-token",
        platform_key_file=tmp_path / "platform-key",
        webhook_port=base_port + WEBHOOK,
        webhook_cert_file=certificate[0],
        webhook_key_file=certificate[1],
        health_port=base_port + HEALTH,
        serving_image="registry.test/serving:1",
        allow_unpinned_images=True,
        weights_volume={"emptyDir": {}},
        cache_dir=tmp_path / "cache",
        identity="test",
        drain_seconds=0.5,
        probe_interval_seconds=1.0,
    )


Eventually = Callable[[Callable[[], Any]], Awaitable[Any]]


@pytest.fixture
def eventually() -> Eventually:
    """Wait until a function returns something true, and return it; the last result is shown if it never does."""

    async def wait(probe: Callable[[], Any], seconds: float = 20.0) -> Any:
        deadline = asyncio.get_running_loop().time() + seconds
        while True:
            result = await asyncio.to_thread(probe)
            if result:
                return result
            assert asyncio.get_running_loop().time() < deadline, f"never became true, last: {result!r}"
            await asyncio.sleep(0.1)

    return wait


@pytest.fixture
def environment(settings: OperatorSettings) -> dict[str, str]:
    """The same settings as the environment of a process."""
    values = {}
    for name, value in settings.model_dump(mode="json").items():
        if value is not None:
            text = json.dumps(value) if isinstance(value, dict | list) else str(value)
            values[f"PADDOCK_OPERATOR_{name.upper()}"] = text
    return {**values, "PADDOCK_OPERATOR_LOG_LEVEL": "DEBUG", "PATH": "/usr/bin:/bin"}


class Process:
    """The operator's command as a process of its own."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self._environment = environment
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start, and wait until it is ready."""
        with self._log.open("ab") as output:
            command = [str(Path(sys.executable).with_name("paddock-operator"))]
            self._process = bare_kubernetes.start(command, output=output, env=self._environment)
        port = self._environment["PADDOCK_OPERATOR_HEALTH_PORT"]
        async with aiohttp.ClientSession() as session:
            for _ in range(1200):
                with contextlib.suppress(aiohttp.ClientError):
                    if (await session.get(f"http://127.0.0.1:{port}/readyz")).status == 200:
                        return
                assert self._process.poll() is None, self.log()
                await asyncio.sleep(0.1)
        raise AssertionError(f"not ready: {self.log()}")

    async def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        self._process.kill()
        await asyncio.to_thread(self._process.wait)

    async def stop(self) -> int:
        """SIGTERM; the exit status."""
        if self._process is None or self._process.poll() is not None:
            return 0
        self._process.terminate()
        return await asyncio.to_thread(self._process.wait)

    def resident_mib(self) -> float:
        """Resident memory."""
        assert self._process is not None
        lines = Path(f"/proc/{self._process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))

    def log(self) -> str:
        """What it has said so far."""
        return self._log.read_text()


@pytest.fixture
async def new_operator(environment: dict[str, str], tmp_path: Path) -> AsyncIterator[Callable[..., Process]]:
    """Make an operator process; `changes` are settings that differ. What still runs at the end is stopped."""
    made: list[Process] = []

    def make(**changes: str) -> Process:
        own = {f"PADDOCK_OPERATOR_{name.upper()}": value for name, value in changes.items()}
        made.append(Process({**environment, **own}, tmp_path / f"operator-{len(made)}.log"))
        return made[-1]

    yield make
    for process in made:
        await process.stop()


@pytest.fixture
async def operator(policy: Any, new_operator: Callable[..., Process]) -> AsyncIterator[Process]:
    """A running operator."""
    process = new_operator()
    await process.start()
    yield process
    await process.stop()
