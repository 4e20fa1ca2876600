"""The machine's clock is set while a request runs: its row says how long it really took."""

import asyncio
import time
from dataclasses import replace
from typing import Any

import pytest
from paddock_gateway.clock import SYSTEM

HELLO: list[Any] = [{"role": "user", "content": "hello"}]
HOUR = 3600.0


@pytest.mark.parametrize("off", [HOUR, -HOUR])
async def test_a_request_takes_as_long_as_it_does_whatever_clock_is_set(world: Any, play: Any, off: float) -> None:
    moved = [0.0]

    async def then_the_clock_is_set(body: dict[str, Any], response: Any) -> None:
        await play.event(response, "a", 1)
        moved[0] = off
        await play.event(response, "b", 1, finish="length")

    world.triton.play = then_the_clock_is_set
    began = time.monotonic()
    async with world.gateway(clock=replace(SYSTEM, wall=lambda: SYSTEM.wall() + moved[0])):
        await world.client().chat.completions.create(model="demo", messages=HELLO, max_tokens=2)
        (row,) = await world.controlplane.settled()
    assert moved == [off]
    assert 0 <= row["t_end"] - row["t_admit"] <= time.monotonic() - began
    assert row["t_admit"] <= row["t_first_token"] <= row["t_end"]


async def test_after_an_hour_without_control_plane_it_serves_as_soon_as_it_is_back(world: Any, play: Any) -> None:
    """Nothing has changed meanwhile, so a poll that waits for a change would say nothing for as long as it may wait."""
    moved = [0]
    clock = replace(SYSTEM, steady_ns=lambda: SYSTEM.steady_ns() + moved[0])
    async with world.gateway(clock=clock, policy_wait_seconds=60.0) as app:
        policy = app._wiring.policy
        await play.until(lambda: not policy.expired())
        world.controlplane.down = True
        world.controlplane.changed.set()  # the poll that is under way ends, the next one fails
        moved[0] = int(HOUR * 1e9)
        assert policy.expired()
        await asyncio.sleep(1)
        assert policy.expired()
        world.controlplane.down = False
        await play.until(lambda: not policy.expired(), 30)
