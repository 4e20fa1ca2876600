"""A backup, restored on another server, is the same platform: ledger, audit chain, prices, statements, keys."""

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from paddock_controlplane.migrate import migrate
from paddock_core.audit.chain import Entry, Verifier
from paddock_core.usage.statements import Signed

pytestmark = pytest.mark.postgres


def _paddock(*words: str, code: int = 0) -> str:
    command = [sys.executable, "-m", "paddock_cli.main", "db", *words]
    done = subprocess.run(command, env=os.environ, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == code, done.stderr
    return done.stderr


async def _owned(server: Any) -> str:
    """A database whose owner is an ordinary role, whom row-level security binds; its DSN."""
    connection = await server.connect()
    await connection.execute("CREATE ROLE drill LOGIN CREATEROLE NOSUPERUSER")
    await connection.execute("GRANT paddock_app TO drill WITH ADMIN OPTION")
    await connection.execute("CREATE DATABASE drill OWNER drill")
    await connection.close()
    dsn: str = server.dsn("drill").replace("postgres@", "drill@")
    await migrate(dsn)
    return dsn


async def _events(api: Any, count: int, cursor: str = "") -> list[dict[str, Any]]:
    """So many events after the cursor: any transaction under way on the server holds the stream back a while."""
    found: list[dict[str, Any]] = []
    async with asyncio.timeout(300):
        while len(found) < count:
            answer = await api("GET", f"/v1/usage/events?cursor={cursor}")
            found = [json.loads(line) for line in answer.text.splitlines()]
            await asyncio.sleep(0.01)
    return found


async def _holds(api: Any, ledger: Any) -> dict[str, Any]:
    """Checks that all agree, and answers what must be the same before and after."""
    page = await api("GET", "/v1/audit?limit=5000", status=200)
    verifier = Verifier()
    assert verifier.check(Entry(**item) for item in page["items"])
    assert verifier.digest == page["head"]["digest"]
    assert await ledger.drift(api, start=0, end=time.time() + 7200) == {"hours": 0, "requests": 0}
    statements = (await api("GET", "/v1/statements", status=200))["items"]
    assert all(Signed(**item).intact() for item in statements)
    return {
        "head": page["head"],
        "usage": await api("GET", "/v1/usage?group_by=key", status=200),
        "rows": (await api("GET", "/v1/usage/records", status=200))["items"],
        "prices": (await api("GET", "/v1/prices", status=200))["items"],
        "statements": statements,
        "tenant": await api("GET", "/v1/tenants/acme", status=200),
        "keys": await api("GET", "/v1/tenants/acme/keys", status=200),
        "policy": await api("GET", "/internal/v1/policy", by="internal", status=200) | {"at": 0},
    }


async def test_a_restored_platform_is_the_same_and_goes_on(
    server: Any, frail: Any, run_app: Any, ledger: Any, tmp_path: Path
) -> None:
    source, file = tmp_path / "source", tmp_path / "backup"
    source.write_text(await _owned(server))
    rows = [ledger.record(n, key_id=f"k{n % 2}") for n in range(20)]
    async with run_app(source.read_text()) as api:
        await api.tenant("acme")
        await api("POST", "/v1/tenants/acme/keys", {}, status=201)
        await api("PUT", "/v1/tenants/acme/limits", {"requests_per_minute": 7}, status=200)
        await ledger.price(api, 3)
        await ledger.enter(api, rows)
        await api("POST", "/v1/statements", {"tenant": "acme", "month": "2026-01"}, status=201)
        before, seen = await _holds(api, ledger), await _events(api, 20)
        await asyncio.to_thread(_paddock, "backup", "--dsn-file", str(source), str(file))
        await ledger.enter(api, [ledger.record(99)])  # after the backup: its gateway still has it in its journal
    assert file.stat().st_mode & 0o077 == 0
    assert "is there already" in _paddock("backup", "--dsn-file", str(source), str(file), code=2)
    await frail.create("empty")
    target = tmp_path / "target"
    target.write_text(frail.dsn("empty"))
    await asyncio.to_thread(_paddock, "restore", "--dsn-file", str(target), str(file))
    assert "is not empty" in _paddock("restore", "--dsn-file", str(target), str(file), code=2)
    async with run_app(target.read_text()) as api:
        assert await _holds(api, ledger) == before
        assert await ledger.enter(api, rows) == (0, 20)
        assert await ledger.enter(api, [ledger.record(100)]) == (1, 0)
        fresh = await _events(api, 1, seen[-1]["cursor"])
        assert [event["data"]["input_uncached_tokens"] for event in fresh] == [110]
        assert (await ledger.total(api))["requests"] == 21


def test_what_is_no_backup_or_no_database_is_told(tmp_path: Path) -> None:
    nonsense, backup = tmp_path / "dsn", tmp_path / "backup"
    nonsense.write_text("sqlite:///x")
    assert "holds no DSN" in _paddock("backup", "--dsn-file", str(nonsense), str(backup), code=2)
    nonsense.write_text(f"postgresql+asyncpg://u@/d?host={tmp_path}&port=1")
    assert "pg_dump" in _paddock("backup", "--dsn-file", str(nonsense), str(backup), code=1)
    assert not list(tmp_path.glob("backup*"))
