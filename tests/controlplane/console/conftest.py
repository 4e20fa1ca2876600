"""The control plane as a process on a real PostgreSQL, and the machine's own Chromium to look at its pages."""

import asyncio
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from paddock_local.bare_kubernetes import free_port
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, sync_playwright

MODEL = "smollm2-135m-instruct"
PORT = free_port()
START_SECONDS = 240
PATIENCE_MILLISECONDS = 60_000
"""How long a page may take on a busy machine."""
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SECRETS = {
    "admin_token": "admin-token-for-tests",
    "internal_token": "internal-token-for-tests",
    "platform_key": "platform-key-for-tests",
    "audit_key": "audit-key-for-the-tests",
}


def chromium() -> str | None:
    """The machine's own browser, if it has one."""
    names = (os.environ.get("PADDOCK_CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome")
    return next((found for name in names if name and (found := shutil.which(name))), None)


@dataclass(kw_only=True)
class Plane:
    """A running control plane, called as its users would."""

    url: str
    log: Path
    execute: Callable[[str], None]
    """Runs SQL as the database's owner, for what only time or another release brings about."""
    tokens: dict[str, str] = field(default_factory=dict)

    def __call__(self, method: str, path: str, body: Any = None, *, by: str = "platform", status: int) -> Any:
        token = self.tokens.get(by, by)
        answer = httpx.request(
            method, self.url + path, json=body, headers={"authorization": f"Bearer {token}"}, timeout=300
        )
        assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json()

    def tenant(self, name: str, **entity: Any) -> str:
        """An entity with a tenant, and its admin's token."""
        wish = {"id": name, "legal_name": f"{name.title()} Inc.", "principal_place_of_business": "US", **entity}
        self("POST", "/v1/entities", wish, status=201)
        made = self("POST", "/v1/tenants", {"id": name, "entity": name}, status=201)
        self.tokens[name] = made["admin_token"]
        return name

    def link(self, tenant: str, *, role: str = "deployer", license_id: str = "paddock-demo") -> str:
        """The platform offers, the entity's admin issues the link."""
        body = {"entity": tenant, "license": license_id, "role": role}
        offer = self("POST", "/v1/license-offers", body, status=201)
        person = {"name": "Ada Moreno", "email": "ada@acme.example", "delivered_by": "in person"}
        path = f"/v1/license-offers/{offer['offer']}/signatory-link"
        return str(self("POST", path, person, by=tenant, status=201)["link"])

    def acceptances(self, tenant: str) -> list[Any]:
        """What the entity has accepted, oldest first."""
        found = self("GET", f"/v1/license-acceptances?entity={tenant}", status=200)["items"]
        return sorted(found, key=lambda item: item["at"])


@contextmanager
def serving(server: Any, folder: Path, *, template: str, port: int, **settings: Any) -> Iterator[Plane]:
    """A control plane on a database of its own."""
    with ThreadPoolExecutor(1) as elsewhere:  # a loop may run in this thread already: the browser's
        database = elsewhere.submit(
            asyncio.run, server.create(f"console_{uuid.uuid4().hex[:12]}", template=template)
        ).result()
        url = f"http://127.0.0.1:{port}"
        values = {"database_url": server.dsn(database), "port": port, "public_url": url, **settings}
        for name, value in SECRETS.items():
            (folder / name).write_text(value)
            values[f"{name}_file"] = folder / name
        environment = {f"PADDOCK_CONTROLPLANE_{name.upper()}": str(value) for name, value in values.items()}
        log = folder / "log"
        with log.open("wb") as file:
            program = [sys.executable, "-m", "paddock_controlplane.main", "serve"]
            process = subprocess.Popen(program, env={**os.environ, **environment}, stdout=file, stderr=file)
        try:
            _wait(url, process, log)
            yield Plane(
                url=url,
                log=log,
                execute=lambda sql: elsewhere.submit(asyncio.run, _execute(server, database, sql)).result(),
            )
        finally:
            process.terminate()
            process.wait(120)


async def _execute(server: Any, database: str, sql: str) -> None:
    connection = await server.connect(database)
    await connection.execute(sql)
    await connection.close()


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            if httpx.get(f"{url}/readyz", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        if process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(log.read_text())
        time.sleep(0.1)


@pytest.fixture(scope="module")
def plane(server: Any, licensed_template: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """A control plane in which the demonstration license is imported and the operator has accepted it."""
    folder = tmp_path_factory.mktemp("plane")
    with serving(server, folder, template="template_licensed", port=PORT) as plane:
        plane.tokens = {"platform": SECRETS["admin_token"], **licensed_template}
        yield plane


@pytest.fixture
def tenant(plane: Plane) -> str:
    """A tenant of this test alone."""
    return plane.tenant(f"acme-{uuid.uuid4().hex[:6]}", legal_name="Acme Inc.")


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="module")
def browser(playwright: Playwright) -> Iterator[Browser]:
    """The machine's own Chromium."""
    program = chromium()
    if program is None:
        pytest.skip("there is no Chromium on this machine: sudo apt-get install chromium")
    browser = playwright.chromium.launch(
        executable_path=program, headless=True, args=list(FLAGS), timeout=PATIENCE_MILLISECONDS
    )
    yield browser
    browser.close()


@contextmanager
def _window(browser: Browser, **options: Any) -> Iterator[Page]:
    context: BrowserContext = browser.new_context(java_script_enabled=False, **options)
    context.set_default_timeout(PATIENCE_MILLISECONDS)
    told: list[str] = []
    page = context.new_page()
    page.on("console", lambda message: told.append(message.text))
    try:
        yield page
        # That a page was answered with an error is told there too, and is what some tests want.
        assert [text for text in told if "the server responded with a status of 4" not in text] == []
    finally:
        context.close()


@pytest.fixture
def window(browser: Browser) -> Callable[..., AbstractContextManager[Page]]:
    """Opens a window with nothing remembered and JavaScript off. A page that writes to its console fails the test."""
    return lambda **options: _window(browser, **options)


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with _window(browser) as page:
        yield page
