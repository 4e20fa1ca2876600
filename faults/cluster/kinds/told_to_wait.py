"""An overloaded API server answers 429 and says when to come again."""

from faults.cluster.outcome import Outcome
from faults.cluster.simulated.server import RefusedError
from faults.cluster.simulated.world import World, world_of
from faults.cluster.stage import Stage

ROW = 8
WHAT = "more than 20 requests a second are answered 429 with Retry-After of 1 to 9 s, while {size} deployments come up"
PASS = "no request earlier than told, at most 1 of 5 refused; the queue drains"
SHORT, FULL = 10, 200
PER_SECOND = 20
MOST_REFUSED = 1 / 5
IN_FLIGHT_SECONDS = 0.05
"""What was on its way when the answer came."""


class Limiter:
    """Counts requests in each second, and remembers until when it wants to be left alone."""

    def __init__(self, world: World, stage: Stage) -> None:
        self.asked = 0
        self.refused = 0
        self.early = 0
        self._world = world
        self._chance = stage.random("limiter")
        self._second = (0, 0)
        self._told = (0.0, 0.0)
        """When it was told, and until when to wait."""
        world.api.weather.refuses = self._refuses

    def _refuses(self, _method: str, _path: str) -> RefusedError | None:
        now = self._world.clock.boottime()
        self.asked += 1
        told, until = self._told
        self.early += told + IN_FLIGHT_SECONDS < now < until
        second, count = self._second
        self._second = (int(now), count + 1 if second == int(now) else 1)
        if self._second[1] <= PER_SECOND:
            return None
        seconds = self._chance.randint(1, 9)
        if now >= until:
            self._told = (now, now + seconds)
        else:
            self._told = (told, max(until, now + seconds))
        self.refused += 1
        return RefusedError(429, "too many requests", "TooManyRequests", headers={"Retry-After": str(seconds)})


def play(stage: Stage, size: int) -> Outcome:
    """All come up all the same."""

    async def scenario(world: World) -> Outcome:
        limiter = Limiter(world, stage)
        names = [f"d{number}" for number in range(size)]
        for name in names:
            world.deploy(name)
        async with world.operator() as life:
            seconds = 0.0
            for name in names:
                seconds += await world.until(lambda: world.serves(name), name, seconds=7200)
            assert life.operator is not None
            await world.until(lambda: life.operator.loop.queue.oldest_age_seconds() < 1, "an idle queue", seconds=600)
        text = f"{limiter.refused} of {limiter.asked} requests refused, {limiter.early} came too early; all serve after"
        text += f" {seconds:.0f} s"
        few = 0 < limiter.refused <= MOST_REFUSED * limiter.asked
        passed = few and limiter.early == 0 and not world.errors
        return Outcome(measured=text + "".join(f"; {item}" for item in world.errors[:3]), passed=passed)

    return world_of(stage.empty("wait"), scenario)
