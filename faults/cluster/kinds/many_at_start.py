"""Every LlamaDeployment of a large platform is new to an operator that has just been started."""

from faults.cluster.checking import all_done
from faults.cluster.outcome import Outcome
from faults.cluster.simulated.world import World, world_of
from faults.cluster.stage import Stage

ROW = 27
WHAT = "{size} LlamaDeployments are there when the operator starts, and when it starts again"
PASS = "all serve, at most 25 API requests each; the second start writes the Secrets alone, which it cannot read"
SHORT, FULL = 25, 1000
MOST_REQUESTS = 25
PER_NODE = 10
QUIET_SECONDS = 90.0
"""Longer than it takes to look at all of them, and at each pod once more."""


class Calls:
    """Requests of the operator, without those of its Lease."""

    def __init__(self, world: World) -> None:
        self.reads = self.writes = 0
        world.api.weather.refuses = self._note

    def _note(self, method: str, path: str) -> None:
        if "/leases" not in path:
            self.reads += method == "GET"
            self.writes += method != "GET"


def play(stage: Stage, size: int) -> Outcome:
    """Count what a cold start costs, and what a second one costs that finds all as it should be."""

    async def scenario(world: World) -> Outcome:
        calls = Calls(world)
        for number in range(size // PER_NODE + 1):
            world.node(f"cpu-{number}", gpus=0)
        names = [f"d{number}" for number in range(size)]
        for name in names:
            world.deploy(name)
        seconds = 0.0
        async with world.operator():
            for name in names:
                seconds += await world.until(lambda: all_done(world, name), name, seconds=7200)
        each = (calls.reads + calls.writes) / size
        first = calls.writes
        async with world.operator() as life:
            await world.still(lambda: not world.errors, "no error", seconds=QUIET_SECONDS)
            assert life.operator is not None
            age = life.operator.loop.queue.oldest_age_seconds()
        again = calls.writes - first
        text = f"{each:.1f} requests each, all serve after {seconds:.0f} s; the second start wrote {again} times"
        passed = each <= MOST_REQUESTS and again <= size and age < 1 and not world.errors
        return Outcome(measured=text + "".join(f"; {item}" for item in world.errors[:3]), passed=passed)

    return world_of(stage.empty("many"), scenario)
