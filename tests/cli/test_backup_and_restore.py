"""The drill: a backup under load, a restore into an empty database, and everything in it agrees."""

import asyncio
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from paddock_cli.database import settings_of
from paddock_cli.errors import UsageError

OWNER = "drill_owner"
SUMS = (
    "SELECT sum(requests), sum(input_tokens), sum(output_tokens) FROM usage_hour",
    "SELECT count(*), sum(input_tokens), sum(output_tokens) FROM usage",
)
SPENT = (
    "SELECT spent FROM quota_accounts WHERE level = 'tenant:drill' AND kind = 'tokens_per_month'",
    "SELECT sum(input_tokens + output_tokens) FROM usage",
)


def _sql(dsn: str, *statements: str) -> list[tuple[Any, ...]]:
    """The first row of each statement's answer, as one who sees everything."""

    async def work() -> list[tuple[Any, ...]]:
        connection = await asyncpg.connect(dsn.replace("+asyncpg", ""))
        everything = {"paddock.tenant": "*", "paddock.entity": "*", "paddock.principal": "*"}
        for name, value in everything.items():
            await connection.execute("SELECT set_config($1, $2, false)", name, value)
        rows = [tuple(await connection.fetchrow(each) or ()) for each in statements]
        await connection.close()
        return rows

    return asyncio.run(work())


def _tables(dsn: str) -> dict[str, int]:
    """Rows by table."""
    names = "SELECT string_agg(tablename, ' ' ORDER BY 1) FROM pg_tables WHERE schemaname = 'public'"
    listed = str(_sql(dsn, names)[0][0]).split()
    found = _sql(dsn, *(f'SELECT count(*) FROM "{name}"' for name in listed))
    return {name: int(row[0]) for name, row in zip(listed, found, strict=True)}


@pytest.fixture(scope="module")
def empty(database: str) -> Callable[[], str]:
    """Makes an empty database that belongs to an ordinary role; answers its DSN."""
    role = f"DO $$ BEGIN CREATE ROLE {OWNER} LOGIN CREATEROLE; EXCEPTION WHEN duplicate_object THEN NULL; END $$"
    # Whoever restores must be able to grant the application's role, which is there already on this server.
    app = (
        "DO $$ BEGIN CREATE ROLE paddock_app NOLOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
        f"GRANT paddock_app TO {OWNER} WITH ADMIN OPTION",
    )
    for statement in (role, *app):
        _sql(database, statement)

    def make() -> str:
        name = f"drill_{uuid.uuid4().hex[:10]}"
        _sql(database, f"CREATE DATABASE {name} OWNER {OWNER}")
        return database.replace("postgres@/postgres", f"{OWNER}@/{name}")

    return make


class Load:
    """Usage, keys and leases, for as long as it is not stopped."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._over = threading.Event()
        self.entered = 0
        self.failed: list[str] = []

    def run(self) -> None:
        internal = (self._shell.home / "internal_token").read_text(encoding="utf-8")
        admin = self._shell.token_file.read_text(encoding="utf-8")
        with httpx.Client(base_url=self._shell.url, timeout=300) as client:
            number = 0
            while not self._over.is_set():
                at = time.time()
                batch = {"records": [_record(number + offset, at) for offset in range(20)]}
                number += 20
                for path, body, token in (
                    ("/internal/v1/usage", batch, internal),
                    ("/v1/tenants/drill/keys", {}, admin),
                ):
                    answer = client.post(path, json=body, headers={"authorization": f"Bearer {token}"})
                    if not answer.is_success:
                        self.failed.append(answer.text)
                self.entered = number

    @contextmanager
    def going(self) -> Iterator["Load"]:
        thread = threading.Thread(target=self.run)
        thread.start()
        try:
            yield self
        finally:
            self._over.set()
            thread.join(300)


def _record(number: int, at: float) -> dict[str, Any]:
    return {
        "usage_id": str(uuid.UUID(int=(int(at * 1000) << 80) | (7 << 76) | (2 << 62) | number)),
        "tenant": "drill",
        "key_id": "key",
        "owner_tenant": "drill",
        "deployment": "drill-ns/chat",
        "model": "m",
        "dialect": "openai",
        "operation": "chat",
        "stream": True,
        "status": "ok",
        "finish_reason": "stop",
        "t_admit": at,
        "t_first_token": None,
        "t_end": at + 1,
        "reserved_tokens": 100,
        "input_tokens": 10 + number % 7,
        "output_tokens_engine": 5,
        "output_tokens_sent": 5,
        "output_tokens": 5,
        "billed_from": "engine",
        "usage_source": "exact",
        "acceptance_id": "acc-x",
        "end_user_hash": None,
        "gateway_instance": "gw",
        "journal_seq": number,
    }


def _prepare(shell: Any) -> None:
    """A tenant with a budget for which a gateway holds a lease."""
    shell("entity", "create", "drill", "--legal-name", "Drill Inc.", "--place", "us")
    shell("tenant", "create", "drill", "--entity", "drill")
    shell("quota", "set", "--tenant", "drill", "--tokens-per-month", "1000000000")
    token = (shell.home / "internal_token").read_text(encoding="utf-8")
    ask = {
        "level": "tenant:drill",
        "kind": "tokens_per_month",
        "period": time.strftime("%Y-%m", time.gmtime()),
        "limit": 10**9,
        "back": 0,
        "need": 1,
        "least": 1,
        "want": 1000,
    }
    call = {"instance": "gw", "session": uuid.uuid4().hex, "number": 1, "started_at": time.time(), "asks": [ask]}
    answer = httpx.post(
        f"{shell.url}/internal/v1/leases", json=call, headers={"authorization": f"Bearer {token}"}, timeout=300
    )
    assert answer.is_success, answer.text


def test_a_backup_under_load_is_restored_and_all_of_it_agrees(
    control_plane: Any, empty: Callable[[], str], tmp_path: Path
) -> None:
    source, target, file = empty(), empty(), tmp_path / "backup"
    with control_plane(source) as shell:
        _prepare(shell)
        with Load(shell).going() as load:
            while load.entered < 100:
                time.sleep(0.05)
            before = load.entered
            made = json.loads(shell("db", "backup", str(file), "--dsn", source, "-o", "json").out)
            while load.entered < before + 100:
                time.sleep(0.05)
        assert load.failed == []
        head = tmp_path / "heads"
        shell("audit", "head", "--out", str(head))
        assert "stop every control plane" in shell("db", "restore", str(file), "--dsn", source, "--replace", code=1).err
    assert (file.stat().st_mode & 0o777, made["bytes"]) == (0o600, file.stat().st_size)
    again = shell("db", "backup", str(file), "--dsn", source, code=2)
    assert "overwrites nothing" in again.err

    shell("db", "restore", str(file), "--dsn", target)
    hours, rows = _sql(target, *SUMS)
    spent, used = _sql(target, *SPENT)
    assert hours == rows
    assert spent == used
    assert before <= rows[0] < _sql(source, SUMS[1])[0][0]
    assert _tables(target).keys() == _tables(source).keys()
    with control_plane(target, migrate=False) as restored:
        restored("audit", "verify")
        restored("ledger", "check")
        assert "cut off" in restored("audit", "verify", "--head", str(head), code=1).err
        sums = _sql(target, SUMS[1])
        with Load(restored).going() as more:
            while more.entered < 40:
                time.sleep(0.05)
        assert more.failed == []
        restored("ledger", "check")
    assert _sql(target, SUMS[1])[0][0] == sums[0][0] + more.entered
    spent, used = _sql(target, *SPENT)
    assert spent == used


def test_what_is_at_rest_is_restored_to_the_last_row(
    control_plane: Any, empty: Callable[[], str], tmp_path: Path
) -> None:
    source, target, file = empty(), empty(), tmp_path / "backup"
    with control_plane(source) as shell:
        _prepare(shell)
        with Load(shell).going() as load:
            while load.entered < 60:
                time.sleep(0.05)
    shell("db", "backup", str(file), "--dsn", source)
    shell("db", "restore", str(file), "--dsn", target)
    assert _tables(target) == _tables(source)
    kept = _tables(target)
    refused = shell("db", "restore", str(file), "--dsn", target, code=2)
    assert "--replace" in refused.err
    _sql(target, "INSERT INTO usage_retired (day, rows) VALUES ('2020-01-01', 1) RETURNING day")
    shell("db", "restore", str(file), "--dsn", target, "--replace")
    assert _tables(target) == kept


def test_a_backup_that_is_cut_off_changes_nothing(control_plane: Any, empty: Callable[[], str], tmp_path: Path) -> None:
    source, target, file = empty(), empty(), tmp_path / "backup"
    with control_plane(source) as shell:
        _prepare(shell)
    shell("db", "backup", str(file), "--dsn", source)
    shell("db", "restore", str(file), "--dsn", target)
    kept = _tables(target)
    whole = file.read_bytes()
    for size in (len(whole) // 2, len(whole) * 9 // 10, len(whole) - 10):
        file.write_bytes(whole[:size])
        shell("db", "restore", str(file), "--dsn", target, "--replace", code=1)
        assert _tables(target) == kept


@pytest.mark.parametrize(
    ("dsn", "settings"),
    [
        (
            "postgresql+asyncpg://me:p%40ss@db.example:5433/paddock?ssl=require",
            {"PGHOST": "db.example", "PGPORT": "5433", "PGUSER": "me", "PGPASSWORD": "p@ss", "PGSSLMODE": "require"},
        ),
        ("postgresql+asyncpg://me@/paddock?host=/run/pg&port=7700", {"PGHOST": "/run/pg", "PGPORT": "7700"}),
    ],
)
def test_the_control_planes_dsn_is_understood(dsn: str, settings: dict[str, str]) -> None:
    found = settings_of(dsn)
    assert found["PGDATABASE"] == "paddock"
    assert settings.items() <= found.items()


@pytest.mark.parametrize("dsn", ["", "mysql://me@db/x", "postgresql://me@db", "postgresql://me@db/x?service=other"])
def test_another_dsn_is_refused(dsn: str) -> None:
    with pytest.raises(UsageError):
        settings_of(dsn)
