"""The database's backend dies before each statement of a piece of work in turn: all of it is there, or none of it."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

pytestmark = pytest.mark.postgres

USAGE, KEYS = "/internal/v1/usage", "/v1/tenants/acme/keys"
GONE_SECONDS = 120
MOST_STATEMENTS = 40


@contextmanager
def killing(api: Any, at: int) -> Iterator[list[str]]:
    """Ends the backend before the statement with this number (from 1; the commit counts too); notes what came."""
    engine = api.state.database.engine.sync_engine
    seen: list[str] = []

    def count(connection: Any, what: str) -> None:
        seen.append(what)
        if len(seen) == at:
            _end(connection.connection.driver_connection.get_server_pid())

    def statement(connection: Any, _cursor: Any, sql: str, *_: Any) -> None:
        count(connection, sql)

    def commit(connection: Any) -> None:
        count(connection, "COMMIT")

    event.listen(engine, "before_cursor_execute", statement)
    event.listen(engine, "commit", commit)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", statement)
        event.remove(engine, "commit", commit)


def _end(pid: int) -> None:
    """End a backend as an administrator would, and wait until it is gone."""
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + GONE_SECONDS
    while _lives(pid):
        assert time.monotonic() < deadline
        time.sleep(0.002)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def _quiet(api: Any) -> None:
    """The process's own work at its start is over, so that statements counted are those of the call."""
    async with asyncio.timeout(300):
        seen: list[str] = ["something"]
        while seen:
            with killing(api, at=0) as seen:
                await asyncio.sleep(1.5)


async def test_a_batch_is_entered_whole_or_not_at_all(api: Any, server: Any, database: str, ledger: Any) -> None:
    owner = await server.connect(database)

    async def counts() -> tuple[int, int]:
        rows = await owner.fetchval("SELECT count(*) FROM usage")
        return rows, await owner.fetchval("SELECT coalesce(sum(requests), 0)::bigint FROM usage_hour")

    await ledger.enter(api, [ledger.record(n) for n in range(3)])
    await _quiet(api)
    kinds = set()
    for at in range(1, MOST_STATEMENTS):
        rows, _ = await counts()
        batch = {"records": [ledger.record(at * 100 + n) for n in range(5)]}
        with killing(api, at=at) as seen:
            answer = await api("POST", USAGE, batch, by="internal")
        if answer.status_code == 503:
            assert int(answer.headers["retry-after"]) > 0
        else:
            assert answer.status_code == 200
        kinds.add(answer.status_code)
        after, summed = await counts()
        assert after == summed
        assert after in (rows, rows + 5)
        assert (await api("POST", USAGE, batch, by="internal")).status_code == 200
        assert await counts() == (rows + 5, rows + 5)
        if len(seen) < at:
            break
    else:
        pytest.fail("the work has more statements than were tried")
    assert kinds == {200, 503}
    assert at > 4
    await owner.close()


async def test_a_key_is_issued_with_its_audit_entry_or_not_at_all(api: Any, server: Any, database: str) -> None:
    owner = await server.connect(database)
    await api.tenant("acme")
    await _quiet(api)

    async def counts() -> set[int]:
        return {
            await owner.fetchval("SELECT count(*) FROM api_keys"),
            await owner.fetchval("SELECT count(*) FROM audit_log WHERE action = 'key.issue'"),
            await owner.fetchval("SELECT count(*) FROM policy_log WHERE kind = 'api_key'"),
            await owner.fetchval("SELECT count(*) FROM idempotency_keys"),
        }

    kinds = set()
    for at in range(1, MOST_STATEMENTS):
        with killing(api, at=at) as seen:
            answer = await api("POST", KEYS, {}, headers={"idempotency-key": f"key-{at}"})
        kinds.add(answer.status_code)
        (now,) = await counts()
        assert now in (at - 1, at)
        again = await api("POST", KEYS, {}, headers={"idempotency-key": f"key-{at}"}, status=201)
        assert await counts() == {at}
        if answer.status_code == 201:
            assert answer.json() == again
        if len(seen) < at:
            break
    else:
        pytest.fail("the work has more statements than were tried")
    assert kinds == {201, 503}
    head = await owner.fetchrow("SELECT revision, audit_seq FROM head")
    assert head["audit_seq"] == await owner.fetchval("SELECT max(seq) FROM audit_log")
    assert head["revision"] == await owner.fetchval("SELECT max(revision) FROM policy_log")
    await owner.close()


async def test_fifty_calls_at_once_with_one_idempotency_key_have_one_effect(api: Any) -> None:
    await api.tenant("acme")
    once = {"idempotency-key": "fifty"}
    calls = [api("POST", KEYS, {"name": "b" if n == 49 else "a"}, headers=once) for n in range(50)]
    answers = await asyncio.gather(*calls)
    done = [answer for answer in answers if answer.status_code == 201]
    refused = [answer for answer in answers if answer.status_code != 201]
    assert len({answer.text for answer in done}) == 1
    assert len(done) in (49, 1)  # whichever body came first has the key
    assert {(answer.status_code, answer.json()["code"]) for answer in refused} == {(422, "IdempotencyKeyReused")}
    assert len((await api("GET", KEYS, status=200))["items"]) == 1
    entries = (await api("GET", "/v1/audit", status=200))["items"]
    assert [entry["action"] for entry in entries].count("key.issue") == 1
