"""Streams stay open and say nothing more: a socket whose other end is gone."""

import asyncio

from paddock_operator.kinds import CONFIG_MAP, REPLICA_SET

from faults.cluster.outcome import Outcome
from faults.cluster.simulated.world import World, world_of
from faults.cluster.stage import Stage

ROW = 5
WHAT = "every watch falls silent with its connection open, {size} times; a ReplicaSet is deleted by others just then"
PASS = "detected within 75 s, working within 90 s (virtual)"
SHORT, FULL = 2, 20
DETECT_SECONDS = 75.0
WORK_SECONDS = 90.0


def play(stage: Stage, size: int) -> Outcome:
    """Silence begins at any moment between two bookmarks."""

    async def scenario(world: World) -> Outcome:
        chance, detected, working = stage.random("silent"), 0.0, 0.0
        world.deploy("chat")
        async with world.operator():
            await world.until(lambda: world.serves("chat"), "chat to serve", seconds=600)
            for _ in range(size):
                await asyncio.sleep(chance.uniform(0, 300))
                world.api.weather.silent, began = True, world.clock.boottime()
                (copy,) = (place for place in world.store.places() if place.kind == REPLICA_SET)
                world.store.remove(copy, by="others")
                for kind in (REPLICA_SET, CONFIG_MAP):
                    await world.until(
                        lambda: listed(world, kind.path(), began), f"a list of {kind.plural}", seconds=600
                    )
                detected = max(detected, world.clock.boottime() - began)
                await world.until(lambda: world.store.get(copy), "the ReplicaSet", seconds=600)
                working = max(working, world.clock.boottime() - began)
                world.api.weather.silent = False
                await asyncio.sleep(120)
        text = f"{size} silences: noticed within {detected:.0f} s, the ReplicaSet restored within {working:.0f} s"
        passed = detected <= DETECT_SECONDS and working <= WORK_SECONDS and not world.errors
        return Outcome(measured=text + "".join(f"; {item}" for item in world.errors[:3]), passed=passed)

    return world_of(stage.empty("silent"), scenario)


def listed(world: World, path: str, since: float) -> bool:
    """Whether an operator has listed, rather than watched, since then."""
    return any(
        call.path == path and call.code == 200 and call.at >= since and not call.watch for call in world.api.calls
    )
