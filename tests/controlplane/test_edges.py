"""Idempotency, bad requests, health, settings, and the shape of errors."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from paddock_controlplane import maintenance, migrate
from paddock_controlplane.db import EVERYTHING
from paddock_controlplane.health import head
from paddock_controlplane.idempotency.service import Sealer
from paddock_controlplane.problems import SettingsError
from paddock_controlplane.settings import Settings
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine

KEYS = "/v1/tenants/acme/keys"


@pytest.mark.postgres
async def test_a_repeated_request_gets_the_same_answer(api: Any, server: Any, database: str) -> None:
    await api.tenant("acme")
    once = {"idempotency-key": "order-1"}
    answers = await asyncio.gather(*(api("POST", KEYS, {"name": "a"}, headers=once) for _ in range(5)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.text for answer in answers}) == 1
    problem = await api("POST", KEYS, {"name": "b"}, headers=once, status=422)
    assert problem["code"] == "IdempotencyKeyReused"
    assert len((await api("GET", KEYS, status=200))["items"]) == 1
    other = await api("POST", KEYS, {"name": "a"}, headers=once, by="acme", status=201)
    assert other["id"] != answers[0].json()["id"]
    connection = await server.connect(database)
    kept = await connection.fetchval("SELECT answer FROM idempotency_keys LIMIT 1")
    await connection.close()
    secret = answers[0].json()["key"].split("_")[2]
    assert secret.encode() not in kept
    assert secret.encode() in Sealer(b"platform-key-for-tests").open(kept)


@pytest.mark.postgres
async def test_a_refused_request_does_not_use_up_its_key(api: Any) -> None:
    once = {"idempotency-key": "order-1"}
    await api("POST", "/v1/tenants/acme/keys", {}, headers=once, status=404)
    await api.tenant("acme")
    await api("POST", "/v1/tenants/acme/keys", {}, headers=once, status=201)
    await api("POST", "/v1/tenants/acme/keys", {}, headers={"idempotency-key": "x" * 201}, status=422)


@pytest.mark.postgres
async def test_old_answers_are_forgotten(api: Any, server: Any, database: str) -> None:
    await api.tenant("acme")
    await api("POST", KEYS, {}, headers={"idempotency-key": "old"}, status=201)
    connection = await server.connect(database)
    await connection.execute("UPDATE idempotency_keys SET at = now() - interval '25 hours'")
    await maintenance.once(api.state)
    assert await connection.fetchval("SELECT count(*) FROM idempotency_keys") == 0
    assert await connection.fetchval("SELECT count(*) FROM pg_inherits WHERE inhparent = 'usage'::regclass") == 5
    await connection.close()


@pytest.mark.postgres
async def test_every_error_has_the_same_shape(api: Any) -> None:
    cases = [
        ("GET", "/v1/none", {}, 404),
        ("PATCH", "/v1/tenants", {}, 405),
        ("POST", "/v1/entities", {"content": b"{not json", "headers": {"content-type": "application/json"}}, 422),
        ("POST", "/v1/entities", {"body": []}, 422),
        ("POST", "/v1/entities", {"content": b"\xff\xfe", "headers": {"content-type": "application/json"}}, 422),
        ("POST", "/v1/entities", {"content": b"x" * (2 * 2**20 + 1)}, 413),
        ("GET", "/v1/entities?limit=0", {}, 422),
        ("GET", "/internal/v1/policy/changes?after=-1", {"by": "internal"}, 422),
    ]
    for method, path, given, status in cases:
        answer = await api(method, path, **given)
        assert answer.status_code == status, (path, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
        problem = answer.json()
        assert set(problem) >= {"type", "title", "status", "detail", "code"}
        assert problem["status"] == status


@pytest.mark.postgres
async def test_an_unforeseen_error_says_nothing_of_the_inside(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("password=hunter2")

    monkeypatch.setattr("paddock_controlplane.entities.service.list_page", broken)
    problem = await api("GET", "/v1/entities", status=500)
    assert problem["code"] == "Internal"
    assert "hunter2" not in json.dumps(problem)


@pytest.mark.postgres
async def test_health_and_metrics(api: Any, server: Any, database: str) -> None:
    for path in ("/healthz", "/readyz"):
        assert (await api("GET", path, by="nobody")).text == "ok\n"
    await api("GET", "/v1/entities/some-entity", status=404)
    metrics = (await api("GET", "/metrics", by="nobody")).text
    assert 'http_route="/v1/entities/{entity}"' in metrics
    assert "some-entity" not in metrics
    connection = await server.connect(database)
    await connection.execute("UPDATE alembic_version SET version_num = '0000'")
    await connection.close()
    assert (await api("GET", "/readyz", by="nobody", status=503))["code"] == "SchemaOld"


@pytest.mark.postgres
async def test_tables_and_classes_agree(server: Any, database: str) -> None:
    engine = create_async_engine(server.dsn(database))
    async with engine.connect() as connection:
        found = await connection.run_sync(_differences)
    await engine.dispose()
    assert [str(item)[:300] for item in found] == []


def _differences(connection: Connection) -> list[Any]:
    # Partitions come and go, and some tables are spoken to in SQL alone.
    by_sql = r"alembic_version|usage_(\d+|other|clock|retired(_apart|_hours)?|sinks)"

    def ours(_object: Any, name: str | None, kind: str, *_: Any) -> bool:
        return kind != "table" or not re.fullmatch(by_sql, str(name))

    context = MigrationContext.configure(connection, opts={"compare_type": True, "include_object": ours})
    return list(compare_metadata(context, migrate.target_metadata()))


@pytest.mark.postgres
async def test_migrating_again_changes_nothing(server: Any, database: str) -> None:
    revisions = await asyncio.gather(*(migrate.migrate(server.dsn(database)) for _ in range(2)))
    assert set(revisions) == {head()}


@pytest.mark.postgres
async def test_an_unmigrated_database_is_not_ready(api: Any) -> None:
    async with api.state.database.engine.begin() as connection:
        await connection.execute(text("DROP TABLE alembic_version"))
    assert (await api("GET", "/readyz", by="nobody", status=503))["code"] == "SchemaOld"
    async with api.state.database.transaction(EVERYTHING) as session:
        assert (await session.execute(text("SELECT current_user"))).scalar_one() == "paddock_app"


def test_the_newest_revision_is_read_from_the_files_names() -> None:
    assert ScriptDirectory.from_config(migrate._config()).get_current_head() == head() == migrate.head()


def test_settings_say_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="PADDOCK_CONTROLPLANE_DATABASE_URL"):
        Settings().dsn()
    with pytest.raises(SettingsError, match="PADDOCK_CONTROLPLANE_ADMIN_TOKEN_FILE"):
        Settings().secret("admin_token")
    short = tmp_path / "short"
    short.write_text("abc")
    with pytest.raises(SettingsError, match="at least 16"):
        Settings(admin_token_file=short).secret("admin_token")
    with pytest.raises(SettingsError, match="cannot read"):
        Settings(database_url_file=tmp_path / "none").dsn()
    short.write_text("postgresql+asyncpg://x\n")
    assert Settings(database_url_file=short).dsn() == "postgresql+asyncpg://x"


def test_printed_settings_hold_no_secret() -> None:
    settings = Settings(database_url="postgresql+asyncpg://user:hunter2@host/x")
    assert "hunter2" not in str(settings.masked())


def test_every_setting_is_described() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []
