"""The API server is away for ten minutes, and everything has changed when it is back."""

import asyncio
from collections import defaultdict

from faults.cluster.outcome import Outcome
from faults.cluster.simulated.world import World, world_of
from faults.cluster.stage import Stage

ROW = 7
WHAT = "the API server is away for 10 min; {size} deployments have changed when it is back"
PASS = "the process lives; all keys reconciled within 60 s; at most 2 requests a second from each stream meanwhile"
SHORT, FULL = 10, 200
AWAY_SECONDS = 600.0
BACK_SECONDS = 60.0
MOST_PER_SECOND = 2


def play(stage: Stage, size: int) -> Outcome:
    """Requests are counted by what is asked for, in each second of the outage."""

    async def scenario(world: World) -> Outcome:
        names = [f"d{number}" for number in range(size)]
        for name in names:
            world.deploy(name)
        async with world.operator() as life:
            for name in names:
                await world.until(lambda: world.serves(name), name, seconds=1200)
            world.api.weather.down, began = True, world.clock.boottime()
            world.api.cut()
            await asyncio.sleep(AWAY_SECONDS)
            most, asked = busiest(world, began)
            lived = not life.ended
            for name in names:
                world.deploy(name, minAvailable=1, scaling=None, replicas=2)
            world.api.weather.down = False
            took = await world.until(lambda: all(reconciled(world, name) for name in names), "all keys", seconds=600)
            for name in names:
                await world.until(lambda: world.serves(name, copies=2), name, seconds=1200)
        text = f"{asked} requests in 10 min, at most {most} a second from one stream; all reconciled {took:.0f} s after"
        passed = lived and took <= BACK_SECONDS and most <= MOST_PER_SECOND and not world.errors
        return Outcome(measured=text + "".join(f"; {item}" for item in world.errors[:3]), passed=passed)

    return world_of(stage.empty("away"), scenario)


def busiest(world: World, since: float) -> tuple[int, int]:
    """The most requests of one stream within a second, and all of them. A stream is a path and a selector."""
    times = defaultdict(list)
    for call in world.api.calls:
        if call.at > since:
            times[call.path, call.watch, call.selector].append(call.at)
    most = 0
    for each in times.values():
        for index, at in enumerate(each):
            most = max(most, sum(1 for other in each[index:] if other < at + 1.0))
    return most, sum(map(len, times.values()))


def reconciled(world: World, name: str) -> bool:
    """Whether the operator has told of the last change."""
    found = world.store.get(world.place(name))
    assert found is not None
    return bool(world.status(name).get("observedGeneration") == found["metadata"]["generation"])
