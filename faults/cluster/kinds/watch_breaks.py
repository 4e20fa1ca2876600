"""A stream ends of something that nobody foresaw: a bug, as far as the program is concerned."""

from faults.cluster.outcome import Outcome
from faults.cluster.simulated.world import World, world_of
from faults.cluster.stage import Stage

ROW = 6
WHAT = "the watch of one kind dies of an unknown exception, for every kind that is followed (at most {size})"
PASS = "the process ends within 10 s (and is started again), or goes on; never a zombie"
SHORT, FULL = 3, 40
OWN = "llamadeployments"
LIMIT_SECONDS = 10.0


class UnheardOfError(Exception):
    """Nothing in the operator knows it."""


def play(stage: Stage, size: int) -> Outcome:
    """One life for each kind; the next one begins with the deployment changed."""

    async def scenario(world: World) -> Outcome:
        latest, zombies, ended = 0.0, list[str](), 0
        world.deploy("chat")
        async with world.operator() as first:
            await world.until(lambda: world.serves("chat"), "chat to serve", seconds=600)
            assert first.operator is not None
            kinds = sorted({item.kind.plural for item in first.operator.reflectors() if item.served})
        # The deployments' own is always among them: nothing else tells that a change is wanted.
        others = [plural for plural in kinds if plural != OWN]
        chosen = [OWN, *(others if size == FULL else stage.random("breaks").sample(others, size - 1))]
        for number, plural in enumerate(chosen):
            async with world.operator() as life:
                await world.until(lambda: world.serves("chat"), "chat to serve", seconds=600)
                broken = {plural}

                def breaks(kind: str, broken: set[str] = broken) -> BaseException | None:
                    return UnheardOfError("a bug") if kind in broken else None

                world.api.weather.breaks_watch = breaks
                world.api.cut()
                began = world.clock.boottime()
                world.deploy("chat", minAvailable=1, engine={"maxConcurrency": 8 + number % 2})
                try:
                    await world.until(lambda: life.ended or world.serves("chat"), plural, seconds=LIMIT_SECONDS)
                except AssertionError:
                    zombies.append(plural)
                ended += life.ended
                latest = max(latest, world.clock.boottime() - began)
                world.api.weather.breaks_watch = lambda _: None
        async with world.operator():
            await world.until(lambda: world.serves("chat"), "chat to serve after the last", seconds=600)
        text = f"{len(chosen)} kinds: {len(zombies)} zombies; {ended} processes ended, within {latest:.1f} s; the next"
        return Outcome(measured=f"{text} one served each time", passed=not zombies)

    return world_of(stage.empty("breaks"), scenario)
