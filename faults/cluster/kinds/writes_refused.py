"""Half of all writes meet somebody who was faster, or a server that does not like it."""

import random
from collections import Counter

from faults.cluster.outcome import Outcome
from faults.cluster.simulated.server import RefusedError
from faults.cluster.simulated.world import World, world_of
from faults.cluster.stage import Stage
from faults.cluster.steps import SETTLE_SECONDS, furnish, steps

ROW = 9
WHAT = (
    "each write is refused with a chance of one half, through {size} lives of a deployment: in one half of them 409, in"
    " the other 409 and 422 in turn"
)
PASS = (
    "converges, within 5 min where it is 409 alone; at most 5 tries a write, but for the 1 of 32 that chance refuses"
    " more often"
)
SHORT, FULL = 2, 20
MOST_TRIES = 5
LIMIT_SECONDS = 300.0
UNLUCKY = 1 / 2**MOST_TRIES


class Contrarian:
    """Refuses whatever chance says. Tries are counted of what has one method and path, until it is taken.

    Not every second one: rounds of a few writes would fall in step with that, and one write be refused for ever."""

    def __init__(self, world: World, chance: random.Random) -> None:
        self.refused = 0
        self.tries = Counter[int]()
        """How many writes were taken at their first try, second, ..."""
        self.codes: tuple[int, ...] = (409, 422)
        self._chance = chance
        self._tries = Counter[str]()
        world.api.weather.refuses = self._refuses

    def unlucky(self) -> tuple[int, int]:
        """Writes that needed more tries than asked for, and how many chance may well bring."""
        expected = self.tries.total() * UNLUCKY
        return sum(self.tries[count] for count in self.tries if count > MOST_TRIES), int(expected + 3 * expected**0.5)

    def _refuses(self, method: str, path: str) -> RefusedError | None:
        if method == "GET":
            return None
        write = f"{method} {path}"
        self._tries[write] += 1
        if self._chance.random() < 0.5:
            self.tries[self._tries.pop(write)] += 1
            return None
        self.refused += 1
        code = self.codes[self.refused % len(self.codes)]
        return RefusedError(code, "somebody was faster", "Conflict" if code == 409 else "Invalid")


def play(stage: Stage, size: int) -> Outcome:
    """Leadership is renewed by writes too."""

    async def scenario(world: World) -> Outcome:
        furnish(world)
        contrarian, slowest = Contrarian(world, stage.random("refused")), {(409,): 0.0, (409, 422): 0.0}
        async with world.operator():
            for number in range(size):
                contrarian.codes = codes = list(slowest)[number % 2]
                for step in steps():
                    step.act(world)
                    took = await world.until(lambda: step.done(world), step.name, seconds=SETTLE_SECONDS)
                    slowest[codes] = max(slowest[codes], took)
        late, most = contrarian.unlucky()
        text = f"{contrarian.refused} of {contrarian.refused + contrarian.tries.total()} writes refused; {late} needed"
        text += f" more than {MOST_TRIES} tries (by chance up to {most}); slowest step"
        text += f" {slowest[409,]:.0f} s with 409, {slowest[409, 422]:.0f} s with both"
        passed = contrarian.refused > 0 and late <= most and slowest[409,] <= LIMIT_SECONDS and not world.errors
        return Outcome(measured=text + "".join(f"; {item}" for item in world.errors[:3]), passed=passed)

    return world_of(stage.empty("refused"), scenario)
