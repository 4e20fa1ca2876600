"""The ledger when PostgreSQL is killed, breaks deadlocks, or is asked by many at once."""

import asyncio
import time
from typing import Any

import pytest
from paddock_controlplane.db import EVERYTHING, Database
from paddock_controlplane.prices.book import Prices
from paddock_controlplane.usage import wire
from paddock_controlplane.usage.ledger import enter
from paddock_core.usage.record import UsageRecord

pytestmark = pytest.mark.postgres


async def _until(holds: Any, what: str) -> None:
    async with asyncio.timeout(300):
        while not await holds():  # noqa: ASYNC110 - polls a server
            await asyncio.sleep(0.02)
    assert what


async def test_a_commit_whose_answer_never_came_counts_once(frail: Any, run_app: Any, ledger: Any) -> None:
    """PostgreSQL dies when the commit is on disk and its answer is not yet sent: the replay changes nothing."""
    rows = [ledger.record(n) for n in range(100)]
    async with run_app(frail.dsn("template_paddock")) as api:
        assert await ledger.enter(api, rows[:10]) == (10, 0)
        owner = await frail.connect("template_paddock")
        # Commits now wait for a standby that there is not, after they were written.
        await owner.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        await owner.execute("SELECT pg_reload_conf()")
        cut_off = asyncio.create_task(api("POST", ledger.USAGE, {"records": rows}, by="internal"))

        async def waiting() -> bool:
            query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
            return bool(await owner.fetchval(query))

        await _until(waiting, "the commit waits")
        await asyncio.to_thread(frail.stop)
        assert (await cut_off).status_code == 503
        with (frail.folder / "data" / "postgresql.auto.conf").open("a") as file:
            file.write("synchronous_standby_names = ''\n")
        await asyncio.to_thread(frail.start)
        assert await ledger.enter(api, rows) == (0, 100)
        assert (await ledger.total(api))["requests"] == 100
        assert await ledger.drift(api, start=0, end=time.time() + 3600) == {"hours": 0, "requests": 0}


async def test_killed_again_and_again_under_load_it_counts_each_row_once(frail: Any, run_app: Any, ledger: Any) -> None:
    batches = [[ledger.record(100 * b + n, tenant=f"t{n % 3}") for n in range(100)] for b in range(40)]
    async with run_app(frail.dsn("template_paddock")) as api:
        left, acknowledged = list(batches), 0
        killed = asyncio.Event()

        async def send() -> None:
            nonlocal acknowledged
            while left:
                batch = left.pop()
                for records in (batch, batch[::-1]):  # each is sent twice, as after a lost answer
                    answer = await api("POST", ledger.USAGE, {"records": records}, by="internal")
                    if answer.status_code != 200:
                        left.append(batch)
                        await killed.wait()
                        break
                else:
                    acknowledged += 1

        async def kill(at: int) -> None:
            nonlocal acknowledged
            while acknowledged < at:  # noqa: ASYNC110 - counts other tasks' results
                await asyncio.sleep(0.001)
            killed.clear()
            await asyncio.to_thread(frail.stop)
            await asyncio.to_thread(frail.start)
            killed.set()

        killed.set()
        senders = [asyncio.create_task(send()) for _ in range(3)]
        for at in (5, 15, 30):
            await kill(at)
        await asyncio.gather(*senders)
        assert not left
        total = await ledger.total(api)
        assert total["requests"] == 4000
        assert total["input_tokens"] == sum(row["input_tokens"] for batch in batches for row in batch)
        assert await ledger.drift(api, start=0, end=time.time() + 3600) == {"hours": 0, "requests": 0}


async def test_a_batch_that_postgres_breaks_off_in_a_deadlock_is_entered_again(
    server: Any, database: str, ledger: Any
) -> None:
    owner = await server.connect(database)
    await owner.execute(f"ALTER DATABASE {database} SET deadlock_timeout = '3s'")
    parts = Database(dsn=server.dsn(database))

    async def send(tail: int) -> int:
        rows = [UsageRecord(**ledger.record(tail + n, at=now, tenant=name)) for n, name in enumerate("ab")]
        records = wire.decoded(rows)
        return (await parts.run(EVERYTHING, lambda session: enter(session, records, prices=Prices()))).accepted

    async def waits() -> bool:
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND wait_event_type = 'Lock'"
        return bool(await owner.fetchval(query, database))

    now = time.time()
    assert await send(0) == 2
    other = await server.connect(database)
    await other.execute("SET deadlock_timeout = '5min'")  # so that it is always the batch that is broken off
    await other.execute("BEGIN")
    await other.execute("UPDATE usage_hour SET requests = requests WHERE tenant = 'b'")
    batch = asyncio.create_task(send(10))
    await _until(waits, "the batch waits for the row of b, holding that of a")
    await other.execute("UPDATE usage_hour SET requests = requests WHERE tenant = 'a'")
    await other.execute("COMMIT")
    assert await batch == 2

    async def told() -> bool:
        query = "SELECT deadlocks FROM pg_stat_database WHERE datname = $1"
        return bool(await owner.fetchval(query, database))

    await _until(told, "there was a deadlock")
    assert dict(await owner.fetch("SELECT tenant, requests FROM usage_hour")) == {"a": 2, "b": 2}
    await parts.close()
    for connection in (owner, other):
        await connection.close()


async def test_while_a_price_is_set_no_batch_is_priced_by_the_old_book(api: Any, ledger: Any) -> None:
    """Batches and a change of the price at once: every row has the price that its moment of admission says."""
    sent: list[dict[str, Any]] = []
    done = asyncio.Event()

    async def send(number: int) -> None:
        count = 0
        while not done.is_set():
            rows = [ledger.record(number * 10**6 + count + n, input_tokens=1, output_tokens=0) for n in range(20)]
            count += 20
            sent.extend(rows)
            await ledger.enter(api, rows)

    senders = [asyncio.create_task(send(number)) for number in range(3)]
    begun = [(await ledger.price(api, 10 * n, tenant=None))["effective_from"] for n in range(1, 6)]
    done.set()
    await asyncio.gather(*senders)
    expected = {
        row["usage_id"]: max((10 * n for n, at in enumerate(begun, 1) if at <= row["t_admit"]), default=None)
        for row in sent
    }
    found: dict[str, int | None] = {}
    after = ""
    while after is not None:
        page = await api("GET", f"/v1/usage/records?limit=500{after and '&after=' + after}", status=200)
        found |= {item["usage_id"]: item["cost_nano"] for item in page["items"]}
        after = page["next"]
    assert found == expected


async def test_overlapping_batches_in_any_order_count_each_row_once(api: Any, ledger: Any) -> None:
    rows = [ledger.record(n, tenant=f"t{n % 7}", key_id=f"k{n % 5}") for n in range(300)]
    batches = [rows[start : start + 150][:: 1 if start % 20 else -1] for start in range(0, 160, 10)]

    results = await asyncio.gather(*(ledger.enter(api, batch) for batch in batches))
    assert sum(accepted for accepted, _ in results) == 300
    assert await ledger.drift(api, start=0, end=time.time() + 3600) == {"hours": 0, "requests": 0}
