"""Two groups of two pods, and too few nodes: each could hold one GPU for ever and wait for another."""

import asyncio
from typing import Any

from paddock_operator.kinds import POD

from faults.cluster.outcome import Outcome
from faults.cluster.simulated.controllers import held_gpus
from faults.cluster.simulated.store import Place
from faults.cluster.simulated.world import GPU_MODEL, World, world_of
from faults.cluster.stage import Stage

ROW = 18
WHAT = "groups of two pods come to where one GPU is free, and two groups at once to where two are; {size} times"
PASS = (
    "no GPU held idle for more than 120 s; the reason is InsufficientGPU; one of two serves, and all once there is room"
)
SHORT, FULL = 1, 10
IDLE_SECONDS = 120.0
WATCH_SECONDS = 900.0
SPEC: dict[str, Any] = {
    "model": {"id": GPU_MODEL},
    "engine": {"type": "LLMAPI"},
    "parallelism": {"tensor": 1, "pipeline": 2},
}


def play(stage: Stage, size: int) -> Outcome:
    """No scheduler places a group as one here."""
    longest, told, wrong = 0.0, set[str](), list[str]()
    for number in range(size):

        async def alone(world: World) -> None:
            nonlocal longest
            furnish(world, free=1, taken=1)
            world.deploy("one", **SPEC)
            async with world.operator():
                await world.until(lambda: held_gpus(world.store) > 1, "a part to be placed", seconds=600)
                longest = max(longest, await held_for(world, told))
                leave(world, taken=1)
                await world.until(lambda: world.serves("one"), "it to serve with room", seconds=3600)
            wrong.extend(world.errors)

        async def two(world: World) -> None:
            furnish(world, free=2, taken=2)
            for name in ("one", "two"):
                world.deploy(name, **SPEC)
            async with world.operator():
                await world.until(
                    lambda: any(world.serves(name) for name in ("one", "two")), "one of both to serve", seconds=7200
                )
                leave(world, taken=2)
                for name in ("one", "two"):
                    await world.until(lambda name=name: world.serves(name), f"{name} to serve with room", seconds=7200)  # type: ignore[misc]
            wrong.extend(world.errors)

        world_of(stage.empty(f"alone-{number}"), alone)
        world_of(stage.empty(f"two-{number}"), two)
    text = f"a GPU was held idle for at most {longest:.0f} s; told as {', '.join(sorted(told))}; both served in the end"
    passed = longest <= IDLE_SECONDS and told == {"InsufficientGPU"} and not wrong
    return Outcome(measured=text + "".join(f"; {item}" for item in wrong[:3]), passed=passed)


async def held_for(world: World, told: set[str]) -> float:
    """Longest time for which GPUs were held in vain, and what Serving said when they were given back."""
    since: float | None = None
    longest, began = 0.0, world.clock.boottime()
    while world.clock.boottime() - began < WATCH_SECONDS:
        now = world.clock.boottime()
        holding = any(pod["spec"].get("nodeName") for pod in world.children("one").get(POD, []))
        if holding:
            since = now if since is None else since
            longest = max(longest, now - since)
        elif since is not None:
            told.add(world.condition("one", "Serving").get("reason", ""))
            since = None
        await asyncio.sleep(1)
    return longest


def furnish(world: World, *, free: int, taken: int) -> None:
    """Nodes of one GPU each, some of which somebody else's pods hold."""
    for number in range(free + taken):
        world.node(f"gpu-{number}", gpus=1)
    for number in range(taken):
        container = {"name": "c", "image": "i", "resources": {"limits": {"nvidia.com/gpu": "1"}}}
        spec = {"containers": [container], "nodeName": f"gpu-{free + number}"}
        world.store.put(other(number), {"metadata": {}, "spec": spec, "status": {"phase": "Running"}}, by="people")


def leave(world: World, *, taken: int) -> None:
    """Those pods go."""
    for number in range(taken):
        world.store.remove(other(number), by="people")


def other(number: int) -> Place:
    return Place(POD, "globex", f"other-{number}")
