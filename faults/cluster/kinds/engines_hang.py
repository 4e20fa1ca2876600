"""Engines that take every request and answer none, as where a collective of GPUs hangs: their pods stay ready."""

import asyncio

import httpx2
from paddock_core.resources import names

from faults.cluster.outcome import Outcome
from faults.cluster.simulated.world import World, world_of
from faults.cluster.stage import Stage

ROW = 41
WHAT = (
    "{size} engines, each of a deployment of its own, take requests and answer none; others, more than these, answer."
    " Another deployment is scaled four times, changed and deleted"
)
PASS = "each is begun within 5 s (virtual), and requests leave what is deleted; those that hang get none any more"
SHORT, FULL = 12, 40
MOST_SECONDS = 5.0
SETTLED_SECONDS = 300.0
COPIES = 4
NAME, STEADY = "chat", "steady"


def play(stage: Stage, size: int) -> Outcome:
    """They hang for five minutes before the other one is changed."""
    return world_of(stage.empty("hang"), lambda world: _scenario(world, size))


async def _scenario(world: World, size: int) -> Outcome:
    hanging = [f"h{number}" for number in range(size)]
    for name in (*hanging, NAME):
        world.deploy(name)
    # More answer than hang: that most fail at once would be held for the operator's own fault.
    world.deploy(STEADY, replicas=size + 1)
    async with world.operator():
        for name in (*hanging, NAME):
            await world.until(lambda name=name: world.serves(name), name)
        await world.until(lambda: world.serves(STEADY, copies=size + 1), STEADY)
        hosts = {httpx2.URL(url).host for name in hanging for url in world.endpoints(name)}
        world.api.weather.engine_hangs = hosts.__contains__
        await asyncio.sleep(SETTLED_SECONDS)
        told = [name for name in hanging if world.endpoints(name)]
        slowest = 0.0
        for copies in range(2, 2 + COPIES):
            world.deploy(NAME, replicas=copies)
            made = await world.until(lambda copies=copies: len(world.copies(NAME)) == copies, "a copy more")
            slowest = max(slowest, made)
            await world.until(lambda copies=copies: world.serves(NAME, copies=copies), "all copies")
        former = {item["name"] for item in world.status(NAME)["revisions"]}
        world.deploy(NAME, engine={"maxConcurrency": 3})
        begun = await world.until(lambda: _begun(world, former), "the change to begin")
        world.remove(NAME)
        slowest = max(slowest, begun, await world.until(lambda: not world.endpoints(NAME), "no endpoint any more"))
    text = f"at most {slowest:.2f} s; {len(told)} of {size} that hang still get requests after {SETTLED_SECONDS:.0f} s"
    passed = slowest <= MOST_SECONDS and not told and not world.errors
    return Outcome(measured=text + "".join(f"; {item}" for item in world.errors[:3]), passed=passed)


def _begun(world: World, former: set[str]) -> bool:
    """Whether a copy of another revision is there."""
    found = {item["metadata"]["labels"][names.REVISION] for item in world.workloads(NAME)}
    return bool(found - former)
