"""A watch event never arrives: what the operator believes is wrong until it lists again."""

import asyncio

from faults.cluster.checking import counts
from faults.cluster.kinds.killed_after_each_write import found
from faults.cluster.outcome import Outcome
from faults.cluster.simulated.store import Change
from faults.cluster.simulated.world import World, world_of
from faults.cluster.stage import Stage
from faults.cluster.steps import NAME, SETTLE_SECONDS, furnish, steps

ROW = 2
WHAT = "each watch event of creating, scaling, upgrading and deleting lost in turn (at most {size} of each)"
PASS = "converges within one resync (10 min virtual, spread over 20 s)"
SHORT, FULL = 2, 1_000
RESYNC_SECONDS = 600.0
LIMIT_SECONDS = RESYNC_SECONDS + 30.0


class Thief:
    """Takes one event, counted from when it is told to."""

    def __init__(self, world: World) -> None:
        self.left = 0
        self.taken = 0
        self.what = ""
        world.api.weather.loses = self._loses

    def _loses(self, change: Change) -> bool:
        if self.left == 0:
            return False
        self.left -= 1
        if self.left:
            return False
        self.taken += 1
        self.what = f"{change.type} {change.place.kind.name}"
        return True


def play(stage: Stage, size: int) -> Outcome:
    """Every step once in peace, then again for each of its events."""

    async def scenario(world: World) -> Outcome:
        furnish(world)
        thief, chance, worst = Thief(world), stage.random("lost"), 0.0
        usual, expected, lost, wrong = {}, {}, {}, list[str]()
        async with world.operator(resync_seconds=RESYNC_SECONDS):
            for step in steps():
                before = world.api.sent
                step.act(world)
                usual[step.name] = await world.until(lambda: step.done(world), step.name, seconds=SETTLE_SECONDS)
                expected[step.name] = counts(world, NAME)
                events = range(1, world.api.sent - before + 1)
                lost[step.name] = chance.sample(events, min(size, len(events)))
            for _ in range(max(map(len, lost.values()))):
                for step in steps():
                    thief.left = event = lost[step.name].pop() if lost[step.name] else 0
                    step.act(world)
                    seconds = usual[step.name] + LIMIT_SECONDS
                    took = await world.until(lambda: step.done(world), step.name, seconds=20 * SETTLE_SECONDS)
                    if took > seconds:
                        wrong.append(f"{step.name}, event {event} ({thief.what}): there after {took:.0f} s")
                    # What was lost must be made up for by now, or the next loss would be a second one.
                    await asyncio.sleep(LIMIT_SECONDS)
                    worst = max(worst, took - usual[step.name])
                    wrong += [f"{step.name}, event {event}: {text}" for text in found(world, step, expected[step.name])]
        text = f"{thief.taken} events lost: at most {worst:.0f} s later than usual; {len(wrong)} ended otherwise"
        bad = wrong + world.errors
        return Outcome(measured=text + "".join(f"; {item}" for item in bad[:3]), passed=thief.taken > 0 and not bad)

    return world_of(stage.empty("lost"), scenario)
