"""The database goes away, or the process dies: answers stay honest, and everything goes on by itself."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from paddock_controlplane.migrate import migrate
from paddock_core.audit.chain import Entry, Verifier
from paddock_local.bare_kubernetes import free_port
from sqlalchemy import text

pytestmark = pytest.mark.postgres

PORT = free_port()
ADMIN = {"authorization": "Bearer admin-token-for-tests"}
INTERNAL = {"authorization": "Bearer internal-token-for-tests"}


async def _becomes(api: Any, path: str, status: int, *, by: str = "platform") -> Any:
    async with asyncio.timeout(300):
        while (answer := await api("GET", path, by=by)).status_code != status:  # noqa: ASYNC110 - polls a server
            await asyncio.sleep(0.1)
    return answer


async def test_without_its_database_it_says_so_and_comes_back(frail: Any, run_app: Any) -> None:
    async with run_app(frail.dsn("template_paddock")) as api:
        await api.tenant("acme")
        before = await api("GET", "/internal/v1/policy", by="internal", status=200)
        following = f"/internal/v1/policy/changes?after={before['revision']}&wait=60"
        waiting = asyncio.create_task(api("GET", following, by="internal"))
        await asyncio.sleep(0.2)
        await asyncio.to_thread(frail.stop)
        for method, path, by in (
            ("GET", "/v1/tenants", "platform"),
            ("POST", "/v1/tenants/acme/keys", "acme"),
            ("GET", "/internal/v1/policy", "internal"),
            ("GET", "/internal/v1/policy/changes?after=0", "internal"),
            ("GET", "/readyz", "nobody"),
        ):
            answer = await api(method, path, {} if method == "POST" else None, by=by)
            assert (answer.status_code, answer.json()["code"]) == (503, "DatabaseUnavailable"), path
            assert int(answer.headers["retry-after"]) >= 1
        assert (await api("GET", "/healthz", by="nobody")).status_code == 200
        await asyncio.to_thread(frail.start)
        await _becomes(api, "/readyz", 200)
        await api("POST", "/v1/tenants/acme/keys", {}, by="acme", status=201)
        news = await waiting
        assert news.status_code == 200
        assert [change["kind"] for change in news.json()["changes"]] == ["api_key"]


async def test_a_process_that_starts_before_its_database_waits_for_it(frail: Any, run_app: Any) -> None:
    frail.stop(signal.SIGINT)
    async with run_app(frail.dsn("template_paddock")) as api:
        assert (await api("GET", "/v1/tenants")).status_code == 503
        await asyncio.to_thread(frail.start)
        await _becomes(api, "/v1/tenants", 200)


@contextmanager
def _process(environment: dict[str, str], log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    command = [str(Path(sys.executable).with_name("paddock-controlplane")), "serve"]
    with log.open("ab") as file:
        started = subprocess.Popen(
            command, env={**os.environ, **environment, "PADDOCK_CONTROLPLANE_PORT": str(PORT)}, stderr=file
        )
    try:
        deadline = time.monotonic() + 300
        while True:
            try:
                if httpx.get(f"http://127.0.0.1:{PORT}/readyz", timeout=20).status_code == 200:
                    break
            except httpx.TransportError:
                assert started.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield started
    finally:
        started.kill()
        started.wait(120)


async def test_killed_under_load_it_has_done_everything_once_or_not_at_all(
    server: Any, database: str, environment: Callable[[str], dict[str, str]], tmp_path: Path
) -> None:
    variables, log = environment(server.dsn(database)), tmp_path / "log"
    made: dict[int, str] = {}

    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{PORT}", headers=ADMIN, timeout=120) as client:

        async def issue(number: int) -> None:
            headers = {"idempotency-key": f"key-{number}"}
            answer = await client.post("/v1/tenants/acme/keys", json={"name": f"k{number}"}, headers=headers)
            assert answer.status_code == 201
            made[number] = answer.json()["key"]

        with _process(variables, log) as process:
            body = {"id": "acme", "legal_name": "Acme", "principal_place_of_business": "US"}
            assert (await client.post("/v1/entities", json=body)).status_code == 201
            assert (await client.post("/v1/tenants", json={"id": "acme", "entity": "acme"})).status_code == 201
            running = [asyncio.create_task(issue(number)) for number in range(60)]
            while len(made) < 5:  # noqa: ASYNC110 - counts other tasks' results
                await asyncio.sleep(0.005)
            process.kill()
            await asyncio.gather(*running, return_exceptions=True)
        answered = dict(made)
        with _process(variables, log):
            await asyncio.gather(*(issue(number) for number in range(60)))
            listed = (await client.get("/v1/tenants/acme/keys?limit=500")).json()["items"]
            snapshot = (await client.get("/internal/v1/policy", headers=INTERNAL)).json()
            entries = (await client.get("/v1/audit?limit=1000")).json()["items"]
    assert len(answered) < 60
    assert {number: made[number] for number in answered} == answered
    assert sorted(item["name"] for item in listed) == sorted(f"k{number}" for number in range(60))
    assert set(snapshot["objects"]["api_key"]) == {item["id"] for item in listed}
    assert Verifier().check(Entry(**entry) for entry in entries)
    assert sum(entry["action"] == "key.issue" for entry in entries) == 60
    written = log.read_text()
    assert not any(key.split("_")[2] in written for key in made.values())
    assert "admin-token-for-tests" not in written


async def test_an_ordinary_owner_of_the_database_is_enough(frail: Any, run_app: Any) -> None:
    connection = await frail.connect()
    await connection.execute("DROP DATABASE template_paddock")
    await connection.execute("DROP ROLE paddock_app")
    await connection.execute("CREATE ROLE owner LOGIN CREATEROLE NOSUPERUSER")
    await connection.execute("CREATE DATABASE owned OWNER owner")
    await connection.close()
    dsn = frail.dsn("owned").replace("postgres@", "owner@")
    await migrate(dsn)
    async with run_app(dsn) as api:
        await api.tenant("acme")
        await api.tenant("globex")
        await api("POST", "/v1/tenants/acme/keys", {}, by="acme", status=201)
        assert [item["id"] for item in (await api("GET", "/v1/tenants", by="globex", status=200))["items"]] == [
            "globex"
        ]
        unscoped = await api.state.database.engine.connect()
        assert (await unscoped.execute(text("SELECT count(*) FROM tenants"))).scalar_one() == 0
        await unscoped.close()
