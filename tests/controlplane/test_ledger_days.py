"""Days of the ledger: their bounds, replays on another day, and when rows go."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from paddock_controlplane.db import EVERYTHING
from paddock_controlplane.usage import clock
from paddock_controlplane.usage.partitions import Partitions

pytestmark = pytest.mark.postgres
DAY = 86400.0


@pytest.fixture
async def owner(server: Any, database: str) -> Any:
    """A connection as the owner of the database."""
    connection = await server.connect(database)
    yield connection
    await connection.close()


async def _where(owner: Any) -> dict[str, int]:
    found = await owner.fetch("SELECT tableoid::regclass::text AS name, count(*) AS n FROM usage GROUP BY 1")
    return {row["name"]: row["n"] for row in found}


async def test_midnight_parts_two_days_to_the_millisecond(api: Any, ledger: Any, owner: Any) -> None:
    midnight = time.time() // DAY * DAY
    rows = [ledger.record(n, at=midnight + offset) for n, offset in enumerate((-0.001, 0.0, DAY - 0.001, DAY))]
    last_of_day = ledger.record(
        9, at=midnight + DAY - 0.001, usage_id=f"{rows[2]['usage_id'][:14]}7fff-bfff-ffffffffffff"
    )
    assert await ledger.enter(api, [*rows, last_of_day]) == (5, 0)
    days = [datetime.fromtimestamp(midnight + offset, UTC).strftime("usage_%Y%m%d") for offset in (-DAY, 0, DAY)]
    assert await _where(owner) == {days[0]: 1, days[1]: 3, days[2]: 1}
    assert await ledger.enter(api, [last_of_day, *rows]) == (0, 5)


async def test_a_replay_on_a_later_day_changes_nothing(
    api: Any, ledger: Any, owner: Any, server: Any, database: str, run_app: Any
) -> None:
    """The id says the day, so it does not matter when a row comes or which partitions were made meanwhile."""
    now = time.time()
    far = now + 30 * DAY  # no partition is made so far ahead: these rows lie in the partition for all others
    rows = [ledger.record(n, at=at) for n, at in enumerate((now - DAY, now, far))]
    assert await ledger.enter(api, rows) == (3, 0)
    async with run_app(server.dsn(database)) as restarted:
        days = [datetime.fromtimestamp(far + n * DAY, UTC).date() for n in range(-1, 2)]
        await restarted.state.partitions.ensure(restarted.state.database, days)
        assert await ledger.enter(restarted, rows) == (0, 3)
        assert (await ledger.total(restarted))["requests"] == 3
    assert (await _where(owner))["usage_other"] == 1


async def test_rows_are_kept_by_their_arrival_and_then_replays_are_refused(api: Any, ledger: Any, owner: Any) -> None:
    now = time.time()
    old, older = now - 10 * DAY, now - 20 * DAY
    rows = {name: ledger.record(n, at=at) for n, (name, at) in enumerate({"old": old, "older": older}.items())}
    await ledger.enter(api, list(rows.values()))
    partitions = Partitions(retention_days=5)
    assert await partitions.retire(api.state.database) == 0  # they arrived today, however old they are
    await owner.execute("UPDATE usage SET ingested_at = now() - interval '6 days' WHERE t_admit < $1", now - 15 * DAY)
    assert await partitions.retire(api.state.database) == 1
    assert await partitions.retire(api.state.database) == 0
    assert await owner.fetchval("SELECT count(*) FROM usage") == 1
    api.state.partitions._known.clear()
    problem = await api("POST", ledger.USAGE, {"records": [rows["older"]]}, by="internal", status=422)
    assert problem["code"] == "RecordTooOld"
    assert await ledger.enter(api, [rows["old"]]) == (0, 1)
    assert (await ledger.total(api))["requests"] == 2  # the sums stay
    for path in (f"/v1/usage/drift?from={older}&to={now}",):
        assert (await api("GET", path, status=410))["code"] == "RowsGone"
    assert await ledger.drift(api, start=now - 12 * DAY, end=now) == {"hours": 0, "requests": 0}


async def test_rows_of_no_near_day_go_by_their_arrival_too(api: Any, ledger: Any, owner: Any) -> None:
    """A clock gone wrong, and an id that is no UUIDv7: such rows lie apart, and are kept no longer than others."""
    now = time.time()
    century, ahead, far = 3650 * DAY, (now // DAY + 30) * DAY, 200_000 * DAY
    rows = [
        ledger.record(0, at=century),
        ledger.record(1, at=ahead),
        ledger.record(2, at=far, usage_id=ledger.uuid7(far, 2)[:14] + "4fff-bfff-ffffffffffff"),
        ledger.record(3, at=ahead + 60),
    ]
    assert await ledger.enter(api, rows) == (4, 0)
    partitions = Partitions(retention_days=5)
    assert await partitions.retire(api.state.database) == 0
    # One row of the day ahead is young: that day stays whole.
    await owner.execute("UPDATE usage SET ingested_at = now() - interval '6 days' WHERE journal_seq <> 3")
    assert await partitions.retire(api.state.database) == 2
    assert await partitions.retire(api.state.database) == 0
    assert {row["journal_seq"] for row in await owner.fetch("SELECT journal_seq FROM usage")} == {1, 3}
    for gone in (rows[0], rows[2], ledger.record(9, at=century + 60)):
        problem = await api("POST", ledger.USAGE, {"records": [gone]}, by="internal", status=422)
        assert problem["code"] == "RecordTooOld"
    assert await ledger.enter(api, [rows[1], rows[3], ledger.record(4)]) == (1, 2)
    assert (await ledger.total(api))["requests"] == 5  # the sums stay, and are not held against rows that are gone
    assert await ledger.drift(api, start=century, end=far + 3600) == {"hours": 0, "requests": 0}
    body = {"from": century, "to": far + 3600}
    assert await api("POST", "/v1/usage/rebuild", body, status=200) == {"hours": 0, "requests": 0}
    assert (await ledger.total(api))["requests"] == 5


async def test_a_replay_that_comes_while_its_day_goes_is_refused_or_there(api: Any, ledger: Any, owner: Any) -> None:
    """Either the day goes first, and the replay is refused, or the replay finds its row. It is never entered anew."""
    for number in range(5):
        row = ledger.record(number, at=(3650 + number) * DAY)
        await ledger.enter(api, [row])
        await owner.execute("UPDATE usage SET ingested_at = now() - interval '6 days' WHERE journal_seq = $1", number)
        answer, _ = await asyncio.gather(
            api("POST", ledger.USAGE, {"records": [row]}, by="internal"),
            Partitions(retention_days=5).retire(api.state.database),
        )
        assert answer.status_code == 422 or answer.json() | {"duplicates": 1, "accepted": 0} == answer.json()
        assert (await ledger.total(api))["requests"] == number + 1


async def test_empty_days_of_the_past_go_and_todays_stay(api: Any, owner: Any) -> None:
    today = datetime.now(UTC).date()
    before = datetime.fromtimestamp(time.time() - 40 * DAY, UTC).date()
    await api.state.partitions.ensure(api.state.database, [before])
    assert await Partitions(retention_days=5).retire(api.state.database) == 0
    names = {row["name"] for row in await owner.fetch("SELECT relname::text AS name FROM pg_class")}
    assert f"usage_{before:%Y%m%d}" not in names
    assert f"usage_{today:%Y%m%d}" in names


async def test_arrivals_go_on_after_a_restore(api: Any, ledger: Any, owner: Any) -> None:
    """A restored database counts its transactions anew: the offset is raised above what is there."""
    await ledger.enter(api, [ledger.record(1)])
    await owner.execute("UPDATE usage SET arrival = arrival + 1000000")
    await api.state.database.run(EVERYTHING, clock.restart)
    await ledger.enter(api, [ledger.record(2)])
    await api.state.database.run(EVERYTHING, clock.restart)
    await ledger.enter(api, [ledger.record(3)])
    arrivals = [row["arrival"] for row in await owner.fetch("SELECT arrival FROM usage ORDER BY journal_seq")]
    assert arrivals == sorted(set(arrivals))
    assert arrivals[2] - arrivals[0] < 1000
