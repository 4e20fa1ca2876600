"""The ledger's way out: CloudEvents in the order of arrival, FOCUS charges that add up, sums made anew."""

import asyncio
import json
import time
from decimal import Decimal
from typing import Any

import pytest
from paddock_controlplane.db import EVERYTHING
from paddock_core.usage.buckets import NAMES

pytestmark = pytest.mark.postgres


async def _events(api: Any, cursor: str = "", *, limit: int = 1000, by: str = "platform") -> list[dict[str, Any]]:
    answer = await api("GET", f"/v1/usage/events?limit={limit}&cursor={cursor}", by=by)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


async def _all_events(api: Any, count: int, *, by: str = "platform", limit: int = 1000) -> list[dict[str, Any]]:
    """So many events: any transaction under way on the server, autovacuum's too, holds the stream back a while."""
    found: list[dict[str, Any]] = []
    async with asyncio.timeout(300):
        while len(found) < count:
            found += await _events(api, found[-1]["cursor"] if found else "", by=by, limit=limit)
            await asyncio.sleep(0.01)
    return found


async def test_events_come_in_the_order_of_arrival_each_once(api: Any, ledger: Any) -> None:
    now = time.time()
    await ledger.enter(api, [ledger.record(n, at=now) for n in range(5)])
    await ledger.enter(api, [ledger.record(n, at=now - 3600) for n in range(5, 9)])  # late: smaller ids
    found = await _all_events(api, 9, limit=2)
    assert len({event["id"] for event in found}) == len(found) == 9
    assert {event["data"]["total_tokens"] for event in found[:5]} == {15 + n for n in range(5)}
    assert {event["specversion"] for event in found} == {"1.0"}
    assert {event["source"] for event in found} == {"urn:paddock:ledger"}
    assert await _events(api, found[-1]["cursor"]) == []


async def test_a_batch_under_way_is_not_passed_by(api: Any, ledger: Any, server: Any, database: str) -> None:
    """A transaction that began first may commit last: until then the stream waits before it."""
    slow = await server.connect(database)
    await slow.execute("BEGIN")
    first = ledger.record(1)
    names = ", ".join(first)
    values = ", ".join(f"${n}" for n in range(1, len(first) + 1))
    await slow.execute(
        f"INSERT INTO usage ({names}, arrival) VALUES ({values}, paddock_usage_arrival())", *first.values()
    )
    await ledger.enter(api, [ledger.record(2)])
    try:
        assert await _events(api) == []
        await slow.execute("COMMIT")
    finally:
        await slow.close()
    assert [event["data"]["total_tokens"] for event in await _all_events(api, 2)] == [16, 17]


async def test_a_reader_beside_writers_misses_nothing(api: Any, ledger: Any) -> None:
    batches = [[ledger.record(100 * b + n) for n in range(20)] for b in range(20)]
    left, found, cursor = list(batches), [], ""

    async def write() -> None:
        while left:
            await ledger.enter(api, left.pop())

    writers = asyncio.gather(*(write() for _ in range(4)))
    async with asyncio.timeout(300):
        while len(found) < 400 or not writers.done():
            page = await _events(api, cursor, limit=33)
            found += page
            cursor = page[-1]["cursor"] if page else cursor
            await asyncio.sleep(0)
    await writers
    assert sorted(event["id"] for event in found) == sorted(row["usage_id"] for batch in batches for row in batch)


async def test_a_tenant_reads_its_own_events(api: Any, ledger: Any) -> None:
    await api.tenant("acme")
    await ledger.enter(api, [ledger.record(1), ledger.record(2, tenant="globex")])
    assert [event["subject"] for event in await _all_events(api, 1, by="acme")] == ["acme"]


@pytest.mark.parametrize("cursor", ["x", "1", "1.x", "-1.0", "9" * 30, "1.00000000-0000-7000-8000-00000000000g"])
async def test_a_cursor_of_somebody_else_is_refused(cursor: str, api: Any) -> None:
    assert (await api("GET", f"/v1/usage/events?cursor={cursor}", status=422))["code"] == "CursorInvalid"


async def test_charges_add_up_to_the_rows(api: Any, ledger: Any) -> None:
    await api.entity("op", is_operator=True)
    prices = {name: 10**6 // 3 * (n + 1) for n, name in enumerate(NAMES)}
    await api("POST", "/v1/prices", {"model": "m", "currency": "USD", "prices": prices}, status=201)
    at = time.time() + 10
    rows = [
        ledger.record(
            n,
            at=at + 1000 * n,
            key_id=f"k{n % 2}",
            project=["red", None][n % 2],
            input_tokens=100 + n,
            cache_read_tokens=n,
            cache_write_tokens=3,
            output_tokens=50,
            reasoning_tokens=n,
        )
        for n in range(40)
    ]
    await ledger.enter(api, [*rows, ledger.record(99, at=at, model="free", key_id="free")])
    credit = {"usage_id": rows[0]["usage_id"], "reason": "x", "output_tokens": 20, "cost_nano": 1}
    await api("POST", "/v1/usage/corrections", credit, status=201)
    window = f"from={at - 7200}&to={at + 2 * 86400}"
    for interval in ("hour", "day"):
        charges = (await api("GET", f"/v1/usage/charges?{window}&interval={interval}", status=200))["rows"]
        total = sum(Decimal(row["BilledCost"]) for row in charges)
        assert total == Decimal((await ledger.total(api))["costs"][0]["cost_nano"]).scaleb(-9)
        tokens = sum(int(row["ConsumedQuantity"] or 0) for row in charges)
        assert tokens == sum(row["input_tokens"] + row["output_tokens"] for row in rows) + 114 - 30
        assert {row["SkuMeter"] for row in charges} == {*NAMES, "adjustment"}
        assert {row["ChargeClass"] for row in charges} == {None, "Correction"}
        assert {row["SubAccountId"] for row in charges} == {None, "red"}
        assert {row["ProviderName"] for row in charges} == {"op Inc."}
        assert [row["x_ApiKeyId"] for row in charges if row["x_Unpriced"]] == ["free", "free"]
        assert {row["BillingCurrency"] for row in charges} == {"USD"}
    longer = f"from=0&to={at}"
    assert (await api("GET", f"/v1/usage/charges?{longer}", status=422))["code"] == "PeriodTooLong"


async def test_sums_that_drifted_are_seen_and_made_anew(api: Any, ledger: Any, server: Any, database: str) -> None:
    now = time.time()
    await ledger.enter(api, [ledger.record(n, at=now - 3600 * n, key_id=f"k{n}") for n in range(4)])
    good = await ledger.total(api)
    owner = await server.connect(database)
    await owner.execute("UPDATE usage_hour SET requests = requests + 5 WHERE key_id = 'k1'")
    await owner.execute("DELETE FROM usage_hour WHERE key_id = 'k2'")
    await owner.execute("UPDATE usage_hour SET key_id = 'strange' WHERE key_id = 'k3'")
    await owner.close()
    hours = {"start": now - 86400, "end": now + 1}
    assert await ledger.drift(api, **hours) == {"hours": 4, "requests": 5 + 1 + 1 + 1}
    await api.state.ledger.compare(api.state.database)
    shown = (await api("GET", "/metrics", by="nobody")).text.splitlines()
    figures = {line.partition("{")[0]: line.rpartition(" ")[2] for line in shown if "paddock_ledger" in line}
    assert (figures["paddock_ledger_rollup_drift"], figures["paddock_ledger_unpriced_total"]) == ("4.0", "4.0")
    by_source = {line.rpartition(" ")[2] for line in shown if 'usage_source="exact"' in line}
    assert by_source == {"4.0"}
    body = {"from": hours["start"], "to": hours["end"]}
    assert (await api("POST", "/v1/usage/rebuild", body, status=200))["hours"] == 4
    assert await ledger.drift(api, **hours) == {"hours": 0, "requests": 0}
    assert await ledger.total(api) == good


async def test_a_rebuild_beside_writers_loses_nothing(api: Any, ledger: Any) -> None:
    now = time.time()
    batches = [[ledger.record(100 * b + n) for n in range(20)] for b in range(15)]

    async def write(mine: list[Any]) -> None:
        for batch in mine:
            await ledger.enter(api, batch)

    async def rebuild() -> None:
        for _ in range(5):
            await api("POST", "/v1/usage/rebuild", {"from": now - 3600, "to": now + 3600}, status=200)

    await asyncio.gather(write(batches[::2]), write(batches[1::2]), rebuild())
    assert (await ledger.total(api))["requests"] == 300
    assert await ledger.drift(api, start=now - 3600, end=now + 3600) == {"hours": 0, "requests": 0}


async def test_bodies_are_nowhere_to_be_kept(api: Any) -> None:
    """No column of the ledger could hold a prompt or an answer."""
    async with api.state.database.transaction(EVERYTHING) as session:
        connection = await session.connection()
        found = await connection.exec_driver_sql(
            "SELECT column_name FROM information_schema.columns WHERE table_name = 'usage' AND data_type = 'text'"
        )
        names = {row[0] for row in found}
    assert names == {
        *("tenant", "key_id", "owner_tenant", "deployment", "model", "dialect", "operation", "status", "finish_reason"),
        *("billed_from", "usage_source", "acceptance_id", "end_user_hash", "gateway_instance", "raw_usage"),
        *("project", "end_user_group", "price_id", "currency", "reason"),
    }
