"""Fixtures: a real API server, the control plane's internal API, and the operator between them."""

import asyncio
import contextlib
import datetime as dt
import importlib.util
import ipaddress
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from paddock_operator.loop import log as _loop_log  # noqa: F401 - the package must be importable before anything else
from paddock_operator.settings import OperatorSettings

BASE_PORT = 7730
POLICY_PORT = 7735
WEBHOOK_PORT = 7736
HEALTH_PORT = 7737


def _load(name: str) -> ModuleType:
    """Load a helper beside this file: tests are no package."""
    unique = f"paddock_operator_tests_{name}"
    if unique not in sys.modules:
        spec = importlib.util.spec_from_file_location(unique, Path(__file__).with_name(f"{name}.py"))
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[unique] = module
        spec.loader.exec_module(module)
    return sys.modules[unique]


@pytest.fixture(scope="session")
def helpers() -> Any:
    """The module `policy_server`."""
    return _load("policy_server")


@pytest.fixture(scope="session")
def cluster_helpers() -> Any:
    """The module `cluster_parts`: plays the controllers that do not run here."""
    return _load("cluster_parts")


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A real etcd and kube-apiserver."""
    with _load("kube_api").running_api(tmp_path_factory.mktemp("kubernetes"), base_port=BASE_PORT) as running:
        for namespace in ("acme", "globex", "nobody"):
            done = running.kubectl("create", "namespace", namespace)
            assert done.returncode == 0, done.stderr
        yield running


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
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("certificate")
    (folder / "tls.crt").write_bytes(built.public_bytes(serialization.Encoding.PEM))
    (folder / "tls.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return folder / "tls.crt", folder / "tls.key"


@pytest.fixture
async def policy(helpers: Any) -> AsyncIterator[Any]:
    """The control plane's internal API: the platform is licensed, the tenants are not yet."""
    server = helpers.PolicyServer()
    server.put(*helpers.registered())
    async with helpers.serving(server, port=POLICY_PORT) as running:
        yield running


@pytest.fixture
def settings(api: Any, certificate: tuple[Path, Path], tmp_path: Path, helpers: Any) -> OperatorSettings:
    """Settings of an operator for these tests; waits are short."""
    (tmp_path / "internal-token").write_text(helpers.TOKEN)
    (tmp_path / "platform-key").write_text("platform-key-of-the-tests")
    return OperatorSettings(
        kubeconfig=api.kubeconfigs["operator"],
        controlplane_url=f"http://127.0.0.1:{POLICY_PORT}",
        gateway_url="http://gateway.test",
        internal_token_file=tmp_path / "internal-token",
        platform_key_file=tmp_path / "platform-key",
        webhook_port=WEBHOOK_PORT,
        webhook_cert_file=certificate[0],
        webhook_key_file=certificate[1],
        health_port=HEALTH_PORT,
        serving_image="registry.test/serving:1",
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
def started() -> Callable[[Any], contextlib.AbstractAsyncContextManager[None]]:
    """Run an operator's command as its own process until the block ends; SIGKILL it then if asked."""

    @contextlib.asynccontextmanager
    async def run(environment: dict[str, str]) -> AsyncIterator[asyncio.subprocess.Process]:
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("paddock-operator")),
            env=environment,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.terminate()
            await process.communicate()

    return run
