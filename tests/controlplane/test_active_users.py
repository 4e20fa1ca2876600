"""Sketches of active users: united once however often they come, told to nobody else, read with honest bounds."""

import asyncio
import base64
import hashlib
import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import pytest
from paddock_controlplane.active_users import recount, retention, warnings
from paddock_controlplane.active_users.models import MarkRow, UsersDayRow, UsersMonthRow
from paddock_controlplane.db import EVERYTHING, Scope
from paddock_core.active_users.documents import MOST_SKETCHES
from paddock_core.active_users.sketch import HIGHEST_RANK, SIZE, Sketch, decode, encode, estimate
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.usage.identifiers import uuid7
from paddock_core.usage.journal_frames import Intent
from paddock_core.usage.recovery import LeftOpen
from sqlalchemy import select, text

pytestmark = pytest.mark.postgres

TODAY = datetime.now(UTC).date()
MONTH = TODAY.strftime("%Y-%m")
CHAT, SEARCH = "acme-ns/chat", "acme-ns/search"


def people(first: int, last: int) -> Sketch:
    """The users with these numbers."""
    sketch = Sketch()
    for number in range(first, last):
        sketch.add(random.Random(number).getrandbits(64))
    return sketch


def sent(
    sketch: Sketch | bytes, *, tenant: str = "acme", product: str = CHAT, day: date | str = TODAY
) -> dict[str, str]:
    data = sketch if isinstance(sketch, bytes) else encode(sketch.registers())
    return {"tenant": tenant, "product": product, "day": str(day), "sketch": base64.b64encode(data).decode()}


async def send(api: Any, *sketches: dict[str, str]) -> Any:
    return await api("POST", "/internal/v1/active-users", {"sketches": sketches}, by="internal", status=200)


async def read(api: Any, *, by: str = "platform", **query: str) -> Any:
    words = "&".join(f"{name}={value}" for name, value in {"month": MONTH, **query}.items())
    return await api("GET", f"/v1/active-users?{words}", by=by, status=200)


def crowd(users: int) -> bytes:
    """An encoded sketch as so many users leave it: each register's rank drawn from its distribution."""
    rng = random.Random(users)
    ranks = bytearray(SIZE)
    for index in range(SIZE):
        chance, rank = rng.random(), 0
        while (1 - 2.0**-rank) ** (users / SIZE) < chance and rank < HIGHEST_RANK:
            rank += 1
        ranks[index] = rank
    return encode(bytes(ranks))


def ledger_row(number: int, *, at: float, user: int | None) -> dict[str, Any]:
    intent = Intent(
        usage_id=uuid7(unix_ms=int(at * 1000), random=number.to_bytes(10, "big")),
        tenant="acme",
        key_id="key",
        owner_tenant="acme",
        deployment=CHAT,
        model="m",
        dialect="openai",
        operation="chat",
        stream=False,
        t_admit=at,
        reserved_tokens=10,
        input_tokens=5,
        acceptance_id="acc",
        end_user_hash=None if user is None else hashlib.sha256(str(user).encode()).hexdigest(),
        gateway_instance="gw",
        journal_seq=number,
    )
    return msgspec.to_builtins(LeftOpen(intent=intent, progress=None).settle(final_tokens=None))


@pytest.fixture
async def two(api: Any) -> Any:
    await api.tenant("acme")
    await api.tenant("globex")
    return api


async def test_users_whom_two_gateways_saw_count_once(two: Any) -> None:
    assert await send(two, sent(people(0, 60))) == {"merged": 1, "unchanged": 0, "refused": []}
    assert await send(two, sent(people(30, 90))) == {"merged": 1, "unchanged": 0, "refused": []}
    (tenant,) = (await read(two))["items"]
    assert (tenant["tenant"], tenant["entity"]) == ("acme", "acme")
    assert tenant["users"] == estimate(people(0, 90).registers()).users
    assert tenant["low"] <= 90 <= tenant["high"]


async def test_a_sketch_that_comes_again_changes_nothing(two: Any) -> None:
    first = sent(people(0, 500))
    await send(two, first)
    before = await read(two, by_day="true")
    assert await send(two, first, first, sent(people(100, 200))) == {"merged": 0, "unchanged": 3, "refused": []}
    assert await read(two, by_day="true") == before


async def test_who_uses_two_products_or_comes_on_two_days_is_one_of_the_tenant(two: Any) -> None:
    yesterday = TODAY - timedelta(days=1)
    await send(two, sent(people(0, 40)), sent(people(20, 50), product=SEARCH), sent(people(0, 10), day=yesterday))
    (tenant,) = (await read(two, by_day="true"))["items"]
    assert tenant["users"] == 50
    assert [(item["product"], item["users"]) for item in tenant["products"]] == [(CHAT, 40), (SEARCH, 30)]
    days = {item["day"]: item["users"] for item in tenant["days"]}
    assert days[TODAY.isoformat()] == 50
    assert (await read(two))["items"][0]["days"] == []
    if yesterday.month == TODAY.month:
        assert days[yesterday.isoformat()] == 10


async def test_gateways_that_send_at_the_same_time_lose_nobody(two: Any) -> None:
    batches = [
        [sent(people(gateway * 20, gateway * 20 + 40)), sent(people(0, gateway), product=SEARCH)]
        for gateway in range(1, 13)
    ]
    await asyncio.gather(*(send(two, *batch) for batch in batches))
    (tenant,) = (await read(two))["items"]
    expected = people(0, 12)
    expected.add_all(random.Random(number).getrandbits(64) for number in range(20, 280))
    assert tenant["users"] == estimate(expected.registers()).users


async def test_tenants_see_their_own_alone(two: Any) -> None:
    await send(two, sent(people(0, 10)), sent(people(0, 20), tenant="globex", product="globex-ns/chat"))
    assert [item["tenant"] for item in (await read(two))["items"]] == ["acme", "globex"]
    for name, users in (("acme", 10), ("globex", 20)):
        (own,) = (await read(two, by=name))["items"]
        assert (own["tenant"], own["users"]) == (name, users)
    await two("GET", f"/v1/active-users?month={MONTH}&tenant=globex", by="acme", status=403)
    await two("GET", f"/v1/active-users/entities?month={MONTH}", by="acme", status=403)
    await two("POST", "/internal/v1/active-users", {"sketches": []}, by="acme", status=403)
    async with two.state.database.transaction(Scope(tenant="acme", entity="acme", principal="x")) as session:
        for table in (UsersDayRow, UsersMonthRow):
            assert {row.tenant for row in await session.scalars(select(table))} == {"acme"}
    async with two.state.database.transaction(Scope()) as session:
        assert not list(await session.scalars(select(UsersMonthRow)))


async def test_pages_go_by_tenant(two: Any) -> None:
    await send(two, sent(people(0, 10)), sent(people(0, 20), tenant="globex", product="globex-ns/chat"))
    first = await read(two, limit="1")
    assert ([item["tenant"] for item in first["items"]], first["next"]) == (["acme"], "acme")
    rest = await read(two, limit="1", after="acme")
    assert ([item["tenant"] for item in rest["items"]], rest["next"]) == (["globex"], None)
    entities = await two("GET", f"/v1/active-users/entities?month={MONTH}&limit=1", status=200)
    assert ([item["entity"] for item in entities["items"]], entities["next"]) == (["acme"], "acme")


GOOD = encode(people(0, 300).registers())


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (sent(GOOD[:-5]), "damaged"),
        (sent(b"\x09" + GOOD[1:]), "version"),
        (sent(GOOD[:100] + bytes([GOOD[100] ^ 255]) + GOOD[101:]), "damaged"),
        (sent(bytes(20_000)), "at most"),
        (sent(b""), "version"),
        (sent(GOOD, tenant="ghost"), "no tenant"),
        (sent(GOOD, tenant="\x00"), "no tenant"),
        (sent(GOOD, product="nonsense"), "no product"),
        (sent(GOOD, product="a/" + "b" * 300), "no product"),
        (sent(GOOD, day="2026-02-30"), "no day"),
        (sent(GOOD, day="yesterday"), "no day"),
        (sent(GOOD, day=TODAY + timedelta(days=2)), "not near today"),
        (sent(GOOD, day=TODAY - timedelta(days=500)), "not near today"),
    ],
)
async def test_what_is_no_sketch_is_refused_by_its_place_and_the_rest_is_taken(
    bad: dict[str, str], says: str, two: Any
) -> None:
    taken = await send(two, sent(people(0, 10)), bad, sent(people(0, 20), product=SEARCH))
    assert (taken["merged"], taken["unchanged"], [item["index"] for item in taken["refused"]]) == (2, 0, [1])
    assert says in taken["refused"][0]["reason"]
    (tenant,) = (await read(two))["items"]
    assert tenant["users"] == 20


@pytest.mark.parametrize("body", [{}, {"sketches": 1}, {"sketches": [{"tenant": "acme"}]}])
async def test_what_is_no_batch_is_refused(body: Any, two: Any) -> None:
    problem = await two("POST", "/internal/v1/active-users", body, by="internal", status=422)
    assert problem["code"] == "ActiveUsersBatchInvalid"


async def test_a_batch_is_bounded_and_a_full_one_fits_into_a_body(two: Any) -> None:
    rng = random.Random(3)
    full = encode(bytes(rng.choices(range(HIGHEST_RANK + 1), k=SIZE)))
    batch = [sent(full, product=f"acme-ns/p{number}") for number in range(MOST_SKETCHES)]
    assert (await send(two, *batch))["merged"] == MOST_SKETCHES
    body = {"sketches": [sent(people(0, 1))] * (MOST_SKETCHES + 1)}
    await two("POST", "/internal/v1/active-users", body, by="internal", status=422)


async def test_days_go_after_a_while_and_months_stay(two: Any) -> None:
    await send(two, sent(people(0, 30)), sent(people(0, 10), day=TODAY - timedelta(days=100)))
    await two.state.database.run(EVERYTHING, lambda session: retention.forget_days(session, before=TODAY))
    async with two.state.database.transaction(EVERYTHING) as session:
        assert [row.day for row in await session.scalars(select(UsersDayRow))] == [TODAY]
        assert len(list(await session.scalars(select(UsersMonthRow)))) == 2
    old = (TODAY - timedelta(days=100)).strftime("%Y-%m")
    assert (await read(two, month=old))["items"][0]["users"] == 10


async def test_a_damaged_row_says_so(two: Any) -> None:
    await send(two, sent(people(0, 30)))
    async with two.state.database.transaction(EVERYTHING) as session:
        await session.execute(text("UPDATE active_users_month SET sketch = '\\x0102'"))
    problem = await two("GET", f"/v1/active-users?month={MONTH}", status=500)
    assert problem["code"] == "StoredSketchDamaged"
    taken = await send(two, sent(people(0, 40)))
    assert [item["index"] for item in taken["refused"]] == [0]


async def test_an_entity_lies_between_its_largest_tenant_and_their_sum(licensed: Any) -> None:
    await licensed("POST", "/v1/tenants", {"id": "acme-two", "entity": "acme"}, status=201)
    await send(licensed, sent(people(0, 40)), sent(people(0, 30), tenant="acme-two"))
    (entity,) = (await licensed("GET", f"/v1/active-users/entities?month={MONTH}", status=200))["items"]
    one, two_ = estimate(people(0, 40).registers()), estimate(people(0, 30).registers())
    assert (entity["entity"], entity["tenants"]) == ("acme", 2)
    assert (entity["low"], entity["high"]) == (one.low, one.high + two_.high)
    assert entity["thresholds"] == []


async def test_a_share_of_the_threshold_is_written_down_once_and_denies_nothing(licensed: Any) -> None:
    license_id = "paddock-demo"
    (clause,) = [
        clause for clause in packaged_catalog().licenses[license_id].clauses if clause.type == "scale_threshold"
    ]
    limit = int(clause.params["value"])
    await licensed.accept("acme", "deployer")
    await licensed.accept("globex", "deployer")
    await send(licensed, sent(crowd(limit * 6 // 10)), sent(people(0, 10), tenant="globex"))
    state = licensed.state

    async def look() -> list[Any]:
        await warnings.look(state.database, catalog=state.catalog, near=state.near_thresholds, today=TODAY)
        entries = await licensed("GET", "/v1/audit?limit=500", status=200)
        return [
            {**item, "detail": json.loads(item["detail"])}
            for item in entries["items"]
            if item["action"] == warnings.ACTION
        ]

    (entry,) = await look()
    assert (entry["entity"], entry["subject"]) == ("acme", license_id)
    assert entry["detail"]["percent"] == 50
    assert entry["detail"]["low"] <= limit * 6 // 10 <= entry["detail"]["high"]
    assert len(await look()) == 1
    found = await licensed("GET", f"/v1/active-users/entities?month={MONTH}", status=200)
    assert {item["entity"]: [near["warning"] for near in item["thresholds"]] for item in found["items"]} == {
        "acme": [50],
        "globex": [None],
    }
    await send(licensed, sent(crowd(limit * 2), product=SEARCH))
    assert [item["detail"]["percent"] for item in await look()] == [50, 75, 90]
    page = (await licensed("GET", "/metrics")).text
    for percent in (50, 75, 90):
        shown = rf'paddock_active_users_near_threshold{{license="{license_id}",.*percent="{percent}"}} 1\.0'
        assert re.search(shown, page), page
    assert "acme" not in page
    assert (await licensed.check("acme", "deployer"))["allowed"]
    report = await licensed("GET", f"/v1/license-report?license={license_id}&month={MONTH}", status=200)
    shown = {item["entity"]: item["thresholds"][0]["warning"] for item in report["active_users"]}
    assert shown == {"acme": 90, "globex": None}
    async with state.database.transaction(Scope(tenant="globex", entity="globex", principal="x")) as session:
        assert not list(await session.scalars(select(MarkRow)))


async def test_a_day_is_counted_again_from_the_ledger(two: Any) -> None:
    noon = datetime(TODAY.year, TODAY.month, TODAY.day, 12, tzinfo=UTC)
    rows = [ledger_row(number, at=noon.timestamp() + number, user=number // 2) for number in range(25)]
    rows += [ledger_row(90, at=noon.timestamp() - 86_400, user=77), ledger_row(91, at=noon.timestamp(), user=None)]
    await two("POST", "/internal/v1/usage", {"records": rows}, by="internal", status=200)
    database = two.state.database
    assert (await read(two))["items"] == []
    found = await recount.recount(database, TODAY, page=7)
    assert found == recount.Recounted(rows=25, mended=1)
    (tenant,) = (await read(two))["items"]
    assert tenant["users"] == 13
    assert await recount.recount(database, TODAY) == recount.Recounted(rows=25, mended=0)
    assert await recount.recount(database, TODAY - timedelta(days=5)) == recount.Recounted(rows=0, mended=0)
    async with database.transaction(EVERYTHING) as session:
        (row,) = await session.scalars(select(UsersDayRow))
    assert estimate(decode(row.sketch)).users == 13


def test_the_command_that_counts_again(
    server: Any, environment: Callable[[str], dict[str, str]], recounted: str
) -> None:
    program = [sys.executable, "-c", "from paddock_controlplane.main import main; main()", "recount-active-users"]
    values = {"PATH": os.environ["PATH"], **environment(server.dsn(recounted))}
    done = subprocess.run([*program, "--day", str(TODAY)], env=values, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stderr.splitlines()[-1])["mended"] == 1
    wrong = subprocess.run([*program, "--day", "today"], env=values, capture_output=True, text=True, check=False)
    assert wrong.returncode == 2


@pytest.fixture
async def recounted(two: Any, database: str) -> str:
    """A database with rows of today, whose users no gateway sent."""
    rows = [ledger_row(number, at=datetime.now(UTC).timestamp(), user=number) for number in range(5)]
    await two("POST", "/internal/v1/usage", {"records": rows}, by="internal", status=200)
    return database
