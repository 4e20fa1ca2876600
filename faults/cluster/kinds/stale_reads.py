"""API servers that lag behind: lists and watches show what was some revisions ago, writes meet what is."""

import random
from collections.abc import Callable

from faults.cluster.checking import WantedTaken
from faults.cluster.outcome import Outcome
from faults.cluster.simulated.world import GPU_MODEL, World, world_of
from faults.cluster.stage import Stage
from faults.cluster.steps import NAME, SETTLE_SECONDS, furnish, is_settled

ROW = 3
WHAT = (
    "lists and watches show the past, of each kind and to each process another number of revisions back (0 to k, k up"
    " to {size}), while a deployment grows, shrinks, is upgraded, deleted and made anew; a new operator each time"
)
PASS = "0 wrong deletes, 0 scale-downs: of the copies that the specification wants as it is, none is taken"
SHORT, FULL = 3, 50
LAG_SECONDS = 120.0
MODEL = {"id": GPU_MODEL}


def play(stage: Stage, size: int) -> Outcome:
    """One world for each k."""
    chance = stage.random("stale")
    lags = range(1, size + 1) if size == FULL else sorted(chance.sample(range(1, FULL + 1), size))
    wrong, taken = list[str](), 0
    for lag in lags:
        try:
            found, deletes = world_of(stage.empty("stale"), lambda world, lag=lag: _scenario(world, lag, chance))
        except AssertionError as error:
            found, deletes = [f"k={lag}: {error}"], 0
        wrong += found
        taken += deletes
    text = f"{len(lags)} lags: {taken} copies taken, {len(wrong)} wrong"
    return Outcome(measured=text + "".join(f"; {item}" for item in wrong[:3]), passed=not wrong and taken >= len(lags))


async def _scenario(world: World, lag: int, chance: random.Random) -> tuple[list[str], int]:
    furnish(world)
    taken = WantedTaken(world, NAME)
    world.deploy(NAME, model=MODEL, replicas=1)
    async with world.operator():
        await world.until(lambda: world.serves(NAME), "the first copy", seconds=SETTLE_SECONDS)
    changes: tuple[Callable[[], None], ...] = (
        lambda: world.deploy(NAME, replicas=3),
        lambda: world.deploy(NAME, replicas=1),
        lambda: world.deploy(NAME, replicas=2),
        lambda: world.deploy(NAME, engine={"maxConcurrency": 8}),
        lambda: world.remove(NAME),
    )
    for change in changes:
        # A new process begins with lists that are old already; the old one is gone without a word.
        world.api.weather.lags = _lags(lag, chance)
        async with world.operator():
            change()
            going = "deletionTimestamp" in world.store.get(world.place(NAME))["metadata"]
            if going:
                await world.until(lambda: world.store.get(world.place(NAME)) is None, "its end", seconds=SETTLE_SECONDS)
                world.deploy(NAME, model=MODEL, replicas=2)
            await world.still(lambda: not taken.wrong, f"nothing taken, k={lag}", seconds=LAG_SECONDS)
            world.api.weather.lags = lambda _client, _plural: 0
            await world.until(lambda: _is_done(world), f"all copies, k={lag}", seconds=SETTLE_SECONDS)
    return [*taken.wrong, *world.errors], taken.deletes


def _is_done(world: World) -> bool:
    found = world.store.get(world.place(NAME))
    return found is not None and world.serves(NAME, copies=int(found["spec"]["replicas"])) and is_settled(world)


def _lags(most: int, chance: random.Random) -> Callable[[str, str], int]:
    """For each client and kind another one, the same as long as it is asked; one kind is current, one is last."""
    drawn: dict[tuple[str, str], int] = {}

    def lag(client: str, plural: str) -> int:
        return drawn.setdefault((client, plural), chance.choice((0, most, chance.randint(0, most))))

    return lag
