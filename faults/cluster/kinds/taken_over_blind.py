"""An operator that has not heard of a deployment becomes the leader, and finds what belongs to it without an owner."""

import asyncio
import random

from faults.cluster.checking import NothingTaken
from faults.cluster.outcome import Outcome
from faults.cluster.simulated.world import GPU_MODEL, World, world_of
from faults.cluster.stage import Stage
from faults.cluster.steps import NAME, SETTLE_SECONDS, furnish

ROW = 3
WHAT = (
    "another operator leads, {size} times, after SIGKILL and SIGTERM of the first in turn; its watch of"
    " LlamaDeployments has been silent since before a deployment was made"
)
PASS = "0 wrong deletes of what serves; the deployment's next change is served"
SHORT, FULL = 2, 20
WATCHED_SECONDS = 600.0
PLURAL = "llamadeployments"


def play(stage: Stage, size: int) -> Outcome:
    """Each way in turn."""
    wrong, chance = list[str](), stage.random("blind")
    for number in range(size):
        wrong += world_of(stage.empty("blind"), lambda world, number=number: _scenario(world, number, chance))
    text = f"{size} takeovers: {len(wrong)} wrong"
    return Outcome(measured=text + "".join(f"; {item}" for item in wrong[:3]), passed=not wrong)


async def _scenario(world: World, number: int, chance: random.Random) -> list[str]:
    furnish(world)
    taken, weather = NothingTaken(world), world.api.weather
    killed = number % 2 == 0
    async with world.operator("first") as first:
        await world.until(lambda: first.operator is not None and first.operator.leader.leading.is_set(), "a leader")
        async with world.operator("second") as second:
            await world.until(
                lambda: second.operator is not None and second.operator.documents.reflector.synced.is_set(),
                "the second to follow",
            )
            weather.mute = lambda client, plural: client == "second" and plural == PLURAL
            # Somewhere in the silence that a client bears before it asks anew.
            await asyncio.sleep(chance.uniform(0, 20))
            world.deploy(NAME, model={"id": GPU_MODEL}, replicas=1)
            await world.until(lambda: world.serves(NAME), "the copy", seconds=SETTLE_SECONDS)
            await (first.kill() if killed else first.stop())
            await world.until(second.operator.leader.leading.is_set, "the second to lead", seconds=60)
            try:
                await world.still(lambda: not taken.wrong, "nothing taken", seconds=WATCHED_SECONDS)
            except AssertionError:
                return [f"{item} ({'SIGKILL' if killed else 'SIGTERM'})" for item in taken.wrong]
            weather.mute = lambda _client, _plural: False
            world.deploy(NAME, replicas=2)
            await world.until(lambda: world.serves(NAME, copies=2), "the change", seconds=SETTLE_SECONDS)
    return [*taken.wrong, *world.errors]
