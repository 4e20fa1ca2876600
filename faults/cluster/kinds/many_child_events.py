"""Pods change all the time, as on a platform where a node after the other is restarted."""

import asyncio
import time

from paddock_operator.kinds import POD
from paddock_operator.observed import Observed
from paddock_operator.ports import Key

from faults.cluster.checking import all_done
from faults.cluster.outcome import Outcome
from faults.cluster.simulated.store import Place
from faults.cluster.simulated.world import World, world_of
from faults.cluster.stage import Stage

ROW = 28
WHAT = "{size} changes of pods within a minute, under 20 deployments that serve"
PASS = (
    "at most two and a half rounds a second for each deployment; no key waits 5 s, processor time beyond the minute"
    " counted in; no write"
)
SHORT, FULL = 3_500, 10_000
DEPLOYMENTS = 20
MINUTE = 60.0
MOST_AGE_SECONDS = 5.0
ROUNDS_PER_SECOND = 2.5
"""Children are looked at half a second after they changed; half a round more a second is for probes."""


def play(stage: Stage, size: int) -> Outcome:
    """Change a condition that nobody knows, of one pod after the other."""

    async def scenario(world: World) -> Outcome:
        names = [f"d{number}" for number in range(DEPLOYMENTS)]
        for name in names:
            world.deploy(name)
        async with world.operator() as life:
            for name in names:
                await world.until(lambda: all_done(world, name), name, seconds=3600)
            assert life.operator is not None
            writes, rounds, oldest = 0, 0, 0.0

            def note(method: str, path: str) -> None:
                nonlocal writes
                writes += method != "GET" and "/leases" not in path

            gather = life.operator.gatherer.gather

            async def counted(key: Key) -> Observed:
                nonlocal rounds
                rounds += 1
                return await gather(key)

            world.api.weather.refuses = note
            life.operator.gatherer.gather = counted  # type: ignore[method-assign]
            places = [place for place in world.store.places() if place.kind == POD]
            began = time.process_time()
            for number in range(size):
                _touch(world, places[number % len(places)], number)
                await asyncio.sleep(MINUTE / size)
                oldest = max(oldest, life.operator.loop.queue.oldest_age_seconds())
            worked = time.process_time() - began
        # Virtual time stands while the program works: more work than there is time is what would let keys wait.
        waited = oldest + max(0.0, worked - MINUTE)
        text = (
            f"{rounds} rounds, {writes} writes, {worked:.1f} s of processor time with the cluster's own; the oldest key"
        )
        text += f" waited {waited:.2f} s"
        few = DEPLOYMENTS <= rounds <= DEPLOYMENTS * MINUTE * ROUNDS_PER_SECOND
        passed = few and writes == 0 and waited < MOST_AGE_SECONDS and not world.errors
        return Outcome(measured=text + "".join(f"; {item}" for item in world.errors[:3]), passed=passed)

    return world_of(stage.empty("storm"), scenario)


def _touch(world: World, place: Place, number: int) -> None:
    pod = world.store.get(place)
    if pod is None:
        return
    said = {"type": "bench.paddock.dev/Storm", "status": "True", "reason": "Storm", "message": str(number)}
    others = [item for item in pod["status"].get("conditions") or () if item["type"] != said["type"]]
    world.store.put(place, {**pod, "status": {**pod["status"], "conditions": [*others, said]}})
