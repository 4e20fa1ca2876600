"""Every second write meets somebody who was faster, or a server that does not like it."""

from collections import Counter

from faults.cluster.outcome import Outcome
from faults.cluster.simulated.server import RefusedError
from faults.cluster.simulated.world import World, world_of
from faults.cluster.stage import Stage
from faults.cluster.steps import SETTLE_SECONDS, furnish, steps

ROW = 9
WHAT = "of every write each second try is refused, 409 and 422 in turn, through {size} lives of a deployment"
PASS = "converges; at most 5 tries a write"
SHORT, FULL = 2, 50
MOST_TRIES = 5


class Contrarian:
    """Refuses the first try of every write, the third, and so on. A write is what has one method and path."""

    def __init__(self, world: World) -> None:
        self.refused = 0
        self.worst = Counter[str]()
        self._writes = Counter[str]()
        self._tries = Counter[str]()
        world.api.weather.refuses = self._refuses

    def _refuses(self, method: str, path: str) -> RefusedError | None:
        if method == "GET":
            return None
        # Counted for each write apart: in step with others, one and the same would be refused for ever.
        write = f"{method} {path}"
        self._writes[write] += 1
        self._tries[write] += 1
        self.worst[write] = max(self.worst[write], self._tries[write])
        if self._writes[write] % 2 == 0:
            self._tries.pop(write)
            return None
        self.refused += 1
        code = 409 if self.refused % 2 else 422
        return RefusedError(code, "somebody was faster", "Conflict" if code == 409 else "Invalid")


def play(stage: Stage, size: int) -> Outcome:
    """Leadership is renewed by writes too."""

    async def scenario(world: World) -> Outcome:
        furnish(world)
        contrarian, slowest = Contrarian(world), 0.0
        async with world.operator():
            for _ in range(size):
                for step in steps():
                    step.act(world)
                    slowest = max(
                        slowest, await world.until(lambda: step.done(world), step.name, seconds=SETTLE_SECONDS)
                    )
        ((write, tries),) = contrarian.worst.most_common(1)
        what = write.rpartition("/")[2]
        text = f"{contrarian.refused} writes refused; at most {tries} tries ({what}); slowest step {slowest:.0f} s"
        passed = contrarian.refused > 0 and tries <= MOST_TRIES and not world.errors
        return Outcome(measured=text + "".join(f"; {item}" for item in world.errors[:3]), passed=passed)

    return world_of(stage.empty("refused"), scenario)
