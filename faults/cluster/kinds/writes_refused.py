"""Every second write meets somebody who was faster, or a server that does not like it."""

from collections import Counter

from faults.cluster.outcome import Outcome
from faults.cluster.simulated.api import Client
from faults.cluster.simulated.server import RefusedError
from faults.cluster.simulated.world import World, world_of
from faults.cluster.stage import Stage
from faults.cluster.steps import SETTLE_SECONDS, furnish, steps

ROW = 9
WHAT = "every second write is refused, 409 and 422 in turn: a deployment is created, scaled, upgraded, deleted {size} times"
PASS = "converges; at most 5 tries a write"
SHORT, FULL = 2, 50
MOST_TRIES = 5


class Contrarian:
    """Refuses every second write. A write is what has one method and path, until it succeeds."""

    def __init__(self, world: World) -> None:
        self.refused = 0
        self.worst = Counter[str]()
        self._writes = Counter[bool]()
        self._tries = Counter[str]()
        world.api.weather.refuses = self._refuses
        world.api.weather.wrote = self._wrote

    def _refuses(self, method: str, path: str) -> RefusedError | None:
        if method == "GET":
            return None
        # What leads is counted apart: in step with it, one and the same write would be refused for ever.
        leads = "/leases/" in path
        self._writes[leads] += 1
        write = f"{method} {path}"
        self._tries[write] += 1
        self.worst[write] = max(self.worst[write], self._tries[write])
        if self._writes[leads] % 2:
            return None
        self.refused += 1
        code = 409 if self.refused % 2 else 422
        return RefusedError(code, "somebody was faster", "Conflict" if code == 409 else "Invalid")

    def _wrote(self, _client: Client, method: str, path: str) -> None:
        self._tries.pop(f"{method} {path}", None)


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
