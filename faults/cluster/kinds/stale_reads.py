"""An API server that lags behind: lists and watches show what was some revisions ago, writes meet what is."""

from faults.cluster.checking import NothingTaken
from faults.cluster.outcome import Outcome
from faults.cluster.simulated.world import GPU_MODEL, World, world_of
from faults.cluster.stage import Stage
from faults.cluster.steps import NAME, SETTLE_SECONDS, furnish

ROW = 3
WHAT = "lists and watches show the past, k revisions back (k up to {size}), through growth and restarts of the operator"
PASS = "0 wrong deletes, 0 scale-downs from stale data"
SHORT, FULL = 3, 50
LAG_SECONDS = 300.0


def play(stage: Stage, size: int) -> Outcome:
    """One world for each lag; a deployment only ever grows in it, so whatever is taken from it is wrong."""
    lags = range(1, size + 1) if size == FULL else sorted(stage.random("stale").sample(range(1, FULL + 1), size))
    wrong, behind = list[str](), 0.0

    for lag in lags:

        async def scenario(world: World, lag: int = lag) -> tuple[list[str], float]:
            furnish(world)
            taken = NothingTaken(world)
            world.deploy(NAME, model={"id": GPU_MODEL}, replicas=1)
            async with world.operator():
                await world.until(lambda: world.serves(NAME), "the first copy", seconds=SETTLE_SECONDS)
            for copies in (2, 3):
                # A new process begins with a list that is old already; the old one is gone without a word.
                world.api.weather.lag = lag
                async with world.operator():
                    world.deploy(NAME, replicas=copies)
                    began = world.clock.boottime()
                    await world.still(
                        lambda: not taken.wrong, f"nothing taken with a lag of {lag}", seconds=LAG_SECONDS
                    )
                    world.api.weather.lag = 0
                    await world.until(
                        lambda: world.serves(NAME, copies=copies),
                        f"{copies} copies",
                        seconds=SETTLE_SECONDS,
                    )
                    seconds = world.clock.boottime() - began
            return [*taken.wrong, *world.errors], seconds

        try:
            found, seconds = world_of(stage.empty("stale"), scenario)
        except AssertionError as error:
            found, seconds = [f"k={lag}: {error}"], 0.0
        wrong += found
        behind = max(behind, seconds)
    text = f"{len(lags)} lags: {len(wrong)} wrong; all copies {behind - LAG_SECONDS:.0f} s after the lag's end at most"
    return Outcome(measured=text + "".join(f"; {item}" for item in wrong[:3]), passed=not wrong)
