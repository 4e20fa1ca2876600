"""Nobody says that an object is gone: it stays in the operator's caches, and what is not there is deleted again."""

import asyncio
from collections import Counter

from faults.cluster.checking import is_gone
from faults.cluster.outcome import Outcome
from faults.cluster.simulated.world import GPU_MODEL, World, world_of
from faults.cluster.stage import Stage
from faults.cluster.steps import furnish

ROW = 2
WHAT = "no watch tells that an object has gone, while a deployment is deleted, {size} times"
PASS = "all gone within one resync (10 min virtual); what is gone already is written or deleted once more at most"
SHORT, FULL = 1, 10
RESYNC_SECONDS = 600.0
LIMIT_SECONDS = RESYNC_SECONDS + 30.0
AFTER_SECONDS = 120.0


def play(stage: Stage, size: int) -> Outcome:
    """What others take away stays in the caches until they are listed anew; what the operator finds gone does not."""

    async def scenario(world: World) -> Outcome:
        furnish(world)
        world.api.weather.loses = lambda change: change.type == "DELETED"
        slowest, vain = 0.0, Counter[str]()
        async with world.operator(resync_seconds=RESYNC_SECONDS):
            for number in range(size):
                name = f"chat-{number}"
                world.deploy(name, model={"id": GPU_MODEL}, replicas=2)
                await world.until(lambda: world.serves(name, copies=2), "it to serve", seconds=1800)
                world.api.calls.clear()
                world.remove(name)
                slowest = max(slowest, await world.until(lambda: is_gone(world, name), "its end", seconds=1800))
                await asyncio.sleep(AFTER_SECONDS)
                refused = [call for call in world.api.calls if call.code == 404 and call.method != "GET"]
                vain |= Counter(f"{call.method} {call.path}" for call in refused)
        (what, most), *_ = vain.most_common(1) or [("", 0)]
        text = f"gone within {slowest:.0f} s; {vain.total()} writes in vain, of one at most {most} ({what})"
        passed = slowest <= LIMIT_SECONDS and most == 1 and not world.errors
        return Outcome(measured="; ".join([text, *world.errors[:3]]), passed=passed)

    return world_of(stage.empty("unheard"), scenario)
