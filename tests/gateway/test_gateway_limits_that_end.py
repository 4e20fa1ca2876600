"""What a gateway holds of a limit that fell, or by a lease that has ended: no request or stream spends it."""

import asyncio
from dataclasses import replace
from typing import Any

import openai
import pytest
from paddock_core.policy.documents import Limits
from paddock_core.policy.view import PolicyView
from paddock_gateway.authenticate import limits_of
from paddock_gateway.clock import SYSTEM

HELLO: list[Any] = [{"role": "user", "content": "hello"}]
LIMIT = 10**6


def limit(world: Any, **limits: int) -> None:
    known = world.controlplane.objects["tenant"]["acme"]
    world.controlplane.put("tenant", "acme", {**known, "limits": limits})


async def status(world: Any) -> int:
    client = world.client(timeout=20, max_retries=0)
    try:
        await client.chat.completions.create(model="demo", messages=HELLO, max_tokens=50)
    except openai.APIStatusError as error:
        return error.status_code
    return 200


async def heard(world: Any, app: Any, play: Any) -> None:
    """The gateway has the newest policy, and has looked at what it holds by it."""
    leases = app._wiring.leases
    await play.until(lambda: app._wiring.policy.view.revision == world.controlplane.revision, 20)
    await play.until(lambda: leases._judged_by is app._wiring.policy.view, 20)


def lent(world: Any, kind: str) -> int:
    return sum(units for key, units in world.controlplane.lent.items() if key[:2] == ("tenant:acme", kind))


@pytest.mark.parametrize(
    ("kind", "before", "after"), [("tokens_per_day", LIMIT, 100), ("requests_per_minute", 6000, 1)]
)
async def test_a_limit_below_what_was_spent_admits_nothing(
    world: Any, play: Any, *, kind: str, before: int, after: int
) -> None:
    limit(world, **{kind: before})
    async with world.gateway() as app:
        assert await asyncio.gather(*(status(world) for _ in range(8))) == [200] * 8
        (holding,) = app._wiring.leases.holdings.accounts.values()
        limit(world, **{kind: after})
        await heard(world, app, play)
        assert [await status(world) for _ in range(5)] == [429] * 5
        assert holding.free == 0
        await play.until(lambda: holding.returning == 0, 20)
        rows = await world.controlplane.settled(8)
    if kind == "tokens_per_day":
        assert lent(world, kind) == sum(row["input_tokens"] + row["output_tokens"] for row in rows)


async def test_what_open_requests_give_back_is_not_used_again(world: Any, play: Any) -> None:
    gate = asyncio.Event()

    async def wait(body: dict[str, Any], response: Any) -> None:
        await play.event(response, "a", 1)
        await gate.wait()
        await play.event(response, "b", 1, "stop")

    limit(world, concurrent_requests=50)
    world.triton.play = wait
    async with world.gateway() as app:
        running = [asyncio.create_task(status(world)) for _ in range(4)]
        await play.until(lambda: len(world.triton.bodies) == 4, 20)
        limit(world, concurrent_requests=1)
        await heard(world, app, play)
        assert await status(world) == 429
        gate.set()
        assert await asyncio.gather(*running) == [200] * 4
        (holding,) = app._wiring.leases.holdings.accounts.values()
        await play.until(lambda: lent(world, "concurrent_requests") == holding.free, 20)
        assert holding.free <= 1
        async with asyncio.timeout(300):
            while await status(world) != 200:  # noqa: ASYNC110 - a refusal stands for a moment
                await asyncio.sleep(0.05)


async def test_a_stream_ends_where_its_lowered_budget_does(world: Any, play: Any) -> None:
    gate = asyncio.Event()

    async def go_on(body: dict[str, Any], response: Any) -> None:
        await play.event(response, "a", 10)
        await gate.wait()
        for _ in range(20):
            await play.event(response, "b", 10)
        await play.event(response, "", 0, "stop")

    limit(world, tokens_per_day=LIMIT)
    world.triton.play = go_on
    async with world.gateway(extension_tokens=20) as app:
        stream = await open_stream(world)
        await play.until(lambda: len(world.triton.bodies) == 1, 20)
        (holding,) = app._wiring.leases.holdings.accounts.values()
        holding.free += 5000  # as borrowed ahead
        holding.mark += 5000
        world.controlplane.lent = dict.fromkeys(world.controlplane.lent, lent(world, "tokens_per_day") + 5000)
        limit(world, tokens_per_day=30)
        await heard(world, app, play)
        gate.set()
        text, reason = await the_rest(stream)
        (row,) = await world.controlplane.settled()
    assert (text.count("a"), text.count("b") <= 1, reason) == (1, True, "length")
    assert (row["status"], row["usage_source"]) == ("ok", "counted")
    assert row["output_tokens"] <= 20


async def test_a_stream_spends_nothing_of_a_lease_that_has_ended(world: Any, play: Any) -> None:
    gate = asyncio.Event()

    async def go_on(body: dict[str, Any], response: Any) -> None:
        await play.event(response, "a", 10)
        await gate.wait()
        for _ in range(20):
            await play.event(response, "b", 10)
        await play.event(response, "", 0, "stop")

    limit(world, tokens_per_day=LIMIT)
    world.triton.play = go_on
    world.controlplane.max_age = 10**6
    moved = [0]
    clock = replace(SYSTEM, steady_ns=lambda: SYSTEM.steady_ns() + moved[0])
    async with world.gateway(extension_tokens=20, clock=clock) as app:
        stream = await open_stream(world)
        await play.until(lambda: len(world.triton.bodies) == 1, 20)
        leases = app._wiring.leases
        (holding,) = leases.holdings.accounts.values()
        holding.free += 5000
        holding.mark += 5000
        world.controlplane.down = True
        await play.until(lambda: leases.cut_off, 20)
        moved[0] = 301 * 10**9
        gate.set()
        text, reason = await the_rest(stream)
        world.controlplane.down = False
        (row,) = await world.controlplane.settled()
    assert holding.free < 0, "it was let go of, not spent"
    assert (text.count("a"), text.count("b") <= 1, reason) == (1, True, "length")
    assert (row["output_tokens"] <= 20, row["usage_source"]) == (True, "counted")


async def open_stream(world: Any) -> Any:
    return await world.client(timeout=60).chat.completions.create(
        model="demo", messages=HELLO, max_tokens=400, stream=True
    )


async def the_rest(stream: Any) -> tuple[str, str | None]:
    text, reason = "", None
    async for chunk in stream:
        text += chunk.choices[0].delta.content or ""
        reason = chunk.choices[0].finish_reason or reason
    return text, reason


async def test_every_level_s_limits_are_found_by_its_id(world: Any, play: Any) -> None:
    put, objects = world.controlplane.put, world.controlplane.objects
    put("platform_limits", "platform", {"id": "platform", "limits": {"tokens_per_day": 10}})
    put("project", "acme/web", {"id": "acme/web", "tenant": "acme", "limits": {"tokens_per_day": 11}})
    key = {**objects["api_key"]["keyaaaaaaaaa"], "limits": {"tokens_per_day": 12}}
    put("api_key", "keyaaaaaaaaa", key)
    limits = {"limits": {"tokens_per_day": 13}, "end_user_limits": {"tokens_per_day": 14}}
    put("tenant", "acme", {**objects["tenant"]["acme"], **limits})
    levels = {"platform": 10, "project:acme/web": 11, "key:keyaaaaaaaaa": 12, "tenant:acme": 13, "user:acme:hash": 14}
    async with world.gateway() as app:
        await heard(world, app, play)
        view = app._wiring.policy.view
    assert {level: limits_of(level, view) for level in levels} == {
        level: Limits(tokens_per_day=units) for level, units in levels.items()
    }
    gone = [limits_of(level, PolicyView.empty()) for level in levels]
    assert gone == [None] * len(levels)
