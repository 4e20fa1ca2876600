"""Active users on their way from requests to the control plane: counted once, lost never, held in bounded memory."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest
from aiohttp import web
from paddock_core.active_users.documents import MOST_SKETCHES, day_of
from paddock_core.active_users.sketch import Sketch, estimate, user_bits
from paddock_core.usage import settlement
from paddock_core.usage.journal_frames import Intent, Progress
from paddock_core.usage.record import UsageRecord
from paddock_gateway.active_users import ActiveUsers
from paddock_gateway.journal import Journal
from paddock_gateway.segments import segment_numbers

HELLO: list[Any] = [{"role": "user", "content": "hello"}]
NOON = 1_795_348_800.0
DAY = 86_400.0


def record(user: int | None, *, tenant: str = "acme", product: str = "acme-team/demo", at: float = NOON) -> UsageRecord:
    number = hash((user, tenant, product, at)) & 0xFFFF_FFFF
    intent = Intent(
        usage_id=f"usage-{number}",
        tenant=tenant,
        key_id="key",
        owner_tenant="acme",
        deployment=product,
        model="demo",
        dialect="openai",
        operation="chat",
        stream=True,
        t_admit=at,
        reserved_tokens=30,
        input_tokens=10,
        acceptance_id="acc",
        end_user_hash=None if user is None else f"{user * 0x9E3779B97F4A7C15 % 2**64:016x}" + "0" * 48,
        gateway_instance="gateway-0",
        journal_seq=number,
    )
    return settlement.settle(
        intent=intent,
        progress=Progress(usage_id=intent.usage_id, at=at, engine_tokens=5, sent_tokens=5),
        status="ok",
        finish_reason="stop",
        final=True,
        ended_at=at + 1,
        seq=number,
    )


def counter(world: Any, *, most: int = 64, token: str | None = None) -> ActiveUsers:
    token = token or world.settings.internal_token_file.read_text().strip()
    return ActiveUsers(url=world.settings.controlplane_url, token=token, period=60.0, most=most, sent=lambda: None)


def seen(world: Any, tenant: str = "acme", product: str = "acme-team/demo", at: float = NOON) -> int:
    registers = world.controlplane.users.get((tenant, product, day_of(at)))
    return 0 if registers is None else estimate(registers).users


async def ask(world: Any, **fields: Any) -> None:
    await world.client().chat.completions.create(model="demo", messages=HELLO, max_tokens=1, **fields)


async def test_users_of_requests_are_counted_once_each_and_never_sent_by_name(world: Any, play: Any) -> None:
    async with world.gateway(active_users_seconds=0.05):
        for name in ("ann", "bob", "ann", "cyd"):
            await ask(world, user=name)
        await ask(world)
        rows = await world.controlplane.settled(5)
        await play.until(lambda: len(world.controlplane.users) == 1)
        (key,) = world.controlplane.users
        assert key == ("acme", "acme-team/demo", day_of(rows[0]["t_admit"]))
        await play.until(lambda: estimate(world.controlplane.users[key]).users == 3)
        async with httpx.AsyncClient() as http:
            page = (await http.get(f"http://127.0.0.1:{world.settings.metrics_port}/metrics")).text
    assert "paddock_gateway_active_users_sketches 1.0" in page
    assert "paddock_gateway_active_users_uncounted 0.0" in page
    expected = Sketch()
    for row in rows:
        if row["end_user_hash"]:
            expected.add(user_bits(row["end_user_hash"]))
    assert world.controlplane.users[key] == expected.registers()


async def test_safety_identifier_is_who_counts_and_user_stands_in_for_it(world: Any) -> None:
    async with world.gateway():
        await ask(world, safety_identifier="ann", user="the-app")
        await ask(world, safety_identifier="bob", user="the-app")
        await ask(world, user="ann")
        await world.client().completions.create(model="demo", prompt="hi", max_tokens=1, user="bob")
        rows = await world.controlplane.settled(4)
    hashes = [row["end_user_hash"] for row in rows]
    assert hashes[0] == hashes[2] != hashes[1] == hashes[3]


async def test_a_stop_sends_what_is_left(world: Any) -> None:
    async with world.gateway(active_users_seconds=3600):
        await ask(world, user="ann")
        await world.controlplane.settled(1)
        assert world.controlplane.users == {}
    (registers,) = world.controlplane.users.values()
    assert estimate(registers).users == 1


async def test_a_segment_outlives_its_records_until_its_users_were_sent(world: Any, play: Any) -> None:
    folder: Path = world.settings.journal_dir / "gateway-0"
    journal = Journal(folder=folder, segment_bytes=2**18)
    for user in range(20):
        await journal.settle(record(user))
    await journal.close()
    old = journal.path(1)
    world.controlplane.users_down = True
    async with world.gateway(active_users_seconds=0.05):
        await world.controlplane.settled(20)
        await ask(world)
        await world.controlplane.settled(21)
        assert old.exists()
        world.controlplane.users_down = False
        await play.until(lambda: not old.exists())
    assert seen(world) == 20


async def test_a_journal_that_another_gateway_left_brings_its_users(world: Any, play: Any) -> None:
    folder: Path = world.settings.journal_dir / "gateway-gone"
    journal = Journal(folder=folder, segment_bytes=2**18)
    for user in range(7):
        await journal.settle(record(user))
    await journal.close()
    async with world.gateway(adopt_after_seconds=0.5, active_users_seconds=3600):
        await play.until(lambda: not segment_numbers(folder), 30)
        assert seen(world) == 7


async def test_what_cannot_be_sent_now_is_sent_later_and_counted_meanwhile(world: Any) -> None:
    users = counter(world)
    async with aiohttp.ClientSession() as session:
        users.count([record(1), record(2)], segment=4)
        world.controlplane.users_down = True
        assert not await users.send(session)
        users.count([record(3)], segment=9)
        assert users.first_needed() == 4
        world.controlplane.users_down = False
        assert await users.send(session)
        assert users.first_needed() is None
    assert seen(world) == 3


async def test_who_is_counted_while_a_sketch_is_under_way_is_sent_the_next_time(world: Any, play: Any) -> None:
    arrived, go = asyncio.Event(), asyncio.Event()

    async def slow(request: web.Request) -> web.Response:
        arrived.set()
        await go.wait()
        return web.json_response({"merged": 1, "unchanged": 0, "refused": []})

    app = web.Application()
    app.router.add_post("/internal/v1/active-users", slow)
    url = await play.start(app, world.runners)
    users = ActiveUsers(url=url, token="t", period=60.0, most=16, sent=lambda: None)
    async with aiohttp.ClientSession() as session:
        users.count([record(1)], segment=1)
        sending = asyncio.create_task(users.send(session))
        await arrived.wait()
        users.count([record(2)], segment=2)
        assert users.first_needed() == 1
        go.set()
        assert await sending
        assert users.first_needed() == 2
        cancelled = asyncio.create_task(users.send(session))
        go.clear()
        arrived.clear()
        await arrived.wait()
        cancelled.cancel()
        await asyncio.gather(cancelled, return_exceptions=True)
        assert users.first_needed() == 2


async def test_what_has_not_changed_is_not_sent_again(world: Any) -> None:
    users = counter(world)
    async with aiohttp.ClientSession() as session:
        for _ in range(3):
            users.count([record(1), record(2)], segment=1)
            assert await users.send(session)
    assert world.controlplane.users_batches == [1]


async def test_a_refused_sketch_harms_no_other(world: Any, caplog: pytest.LogCaptureFixture) -> None:
    world.controlplane.users_refused = lambda tenant: tenant == "ghost"
    users = counter(world)
    async with aiohttp.ClientSession() as session:
        users.count([record(1), record(1, tenant="ghost"), record(1, tenant="globex")], segment=1)
        assert await users.send(session)
    assert (seen(world), seen(world, "globex"), seen(world, "ghost")) == (1, 1, 0)
    assert (users.first_needed(), users.uncounted) == (None, 1)
    (said,) = [item for item in caplog.records if item.levelname == "CRITICAL"]
    assert "recount-active-users" in said.message


async def test_more_tenants_than_a_batch_holds(world: Any) -> None:
    users = counter(world, most=3 * MOST_SKETCHES)
    count = 2 * MOST_SKETCHES + 1
    async with aiohttp.ClientSession() as session:
        users.count((record(1, tenant=f"t{number}") for number in range(count)), segment=1)
        assert await users.send(session)
    assert world.controlplane.users_batches == [MOST_SKETCHES, MOST_SKETCHES, 1]
    assert len(world.controlplane.users) == count


async def test_memory_is_bounded_and_what_was_sent_makes_room(world: Any) -> None:
    users = counter(world, most=16)
    async with aiohttp.ClientSession() as session:
        users.count((record(1, tenant=f"t{number}") for number in range(20)), segment=1)
        assert (len(users), users.uncounted) == (16, 4)
        assert await users.send(session)
        users.count((record(2, tenant=f"t{number}") for number in range(10, 26)), segment=2)
        assert (len(users), users.uncounted) == (16, 4)
        assert await users.send(session)
    assert seen(world, "t0") == 1
    assert seen(world, "t12") == 2  # from two sketches, of which the first was given up
    assert seen(world, "t25") == 1


async def test_a_row_that_no_gateway_writes_stops_no_other(world: Any) -> None:
    users = counter(world)
    strange = [
        replace(record(1), end_user_hash="nobody"),
        replace(record(1), end_user_hash="-1"),
        replace(record(2), t_admit=1e30),
        replace(record(3), t_admit=float("nan")),
    ]
    async with aiohttp.ClientSession() as session:
        users.count([*strange, record(4)], segment=1)
        assert await users.send(session)
    assert (seen(world), users.uncounted) == (1, len(strange))


async def test_days_that_are_over_are_forgotten_once_they_are_sent(world: Any) -> None:
    users = counter(world)
    async with aiohttp.ClientSession() as session:
        users.count([record(1, at=NOON + day * DAY) for day in range(4)], segment=1)
        assert len(users) == 4
        assert await users.send(session)
        assert len(users) == 2
        users.count([record(2, at=NOON)], segment=2)
        assert await users.send(session)
    assert [seen(world, at=NOON + day * DAY) for day in range(4)] == [2, 1, 1, 1]


async def test_a_wrong_token_is_no_refusal_of_the_sketch(world: Any, play: Any) -> None:
    async def unauthorized(_: web.Request) -> web.Response:
        return web.json_response({}, status=401)

    app = web.Application()
    app.router.add_post("/internal/v1/active-users", unauthorized)
    url = await play.start(app, world.runners)
    users = ActiveUsers(url=url, token="t", period=60.0, most=16, sent=lambda: None)
    async with aiohttp.ClientSession() as session:
        users.count([record(1)], segment=3)
        assert not await users.send(session)
    assert (users.first_needed(), users.uncounted) == (3, 0)
