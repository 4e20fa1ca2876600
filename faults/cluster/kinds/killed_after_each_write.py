"""The operator's process dies after any of its writes, and another one goes on from there."""

import random
from collections import Counter
from dataclasses import dataclass, field

from faults.cluster.checking import counts, duplicates, left_over
from faults.cluster.outcome import Outcome
from faults.cluster.simulated.api import Client
from faults.cluster.simulated.life import Life
from faults.cluster.simulated.world import World, world_of
from faults.cluster.stage import Stage
from faults.cluster.steps import NAME, SETTLE_SECONDS, Step, furnish, steps, steps_of_a_group

ROW = 1
WHAT = (
    "the operator is killed after a write of creating, scaling, upgrading and deleting, with copies of one pod and with"
    " groups of two, and of the very first creation in a new cluster: at {size} of each at most"
)
PASS = "all points converge; 0 duplicate children, 0 leaked GPUs"
SHORT, FULL = 2, 1_000
COLD = "first create"


@dataclass
class Tally:
    """What was played, and what came of it."""

    points: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def outcome(self) -> Outcome:
        """In words."""
        told = ", ".join(f"{name} {count}" for name, count in self.points.items())
        text = f"{sum(self.points.values())} points ({told}): {len(self.wrong)} ended otherwise; "
        text += f"{len(self.errors)} errors"
        bad = self.wrong + self.errors
        return Outcome(measured=text + "".join(f"; {item}" for item in bad[:3]), passed=not bad)


class Reaper:
    """Kills a life right after so many of its writes, before it hears that the last one was done."""

    def __init__(self, world: World) -> None:
        self.left = 0
        self.writes = 0
        world.api.weather.wrote = self._wrote

    def _wrote(self, client: Client, _method: str, path: str) -> None:
        # What leadership is made of is no step of a reconcile; losing it is a row of its own.
        if client.dead or "/leases/" in path:
            return
        self.writes += 1
        if self.left:
            self.left -= 1
            client.dead = self.left == 0


def play(stage: Stage, size: int) -> Outcome:
    """Two lives in one world each, then as many new worlds as the first creation has writes."""
    tally = Tally()
    for of, made in (("", steps()), (" of a group", steps_of_a_group())):
        chance = stage.random(f"killed{of}")
        world_of(stage.empty("killed"), lambda world: swept(world, made, of, chance, size, tally))
    cold(stage, size, tally)
    return tally.outcome()


def cold(stage: Stage, size: int, tally: Tally) -> None:
    """Each time in a new world, in which nothing has been made yet that all share."""
    step, chance = steps()[0], stage.random("killed cold")

    async def once(world: World, *, write: int) -> tuple[int, Counter[str]]:
        furnish(world)
        reaper, life = Reaper(world), world.begin()
        reaper.left = write
        life, killed = await converged(world, step, life)
        await life.kill()
        tally.errors += world.errors
        if write:
            tally.points[COLD] += killed
            tally.wrong += [f"{COLD}, write {write}: not killed"] * (not killed)
            tally.wrong += [f"{COLD}, write {write}: {text}" for text in found(world, step, expected)]
        return reaper.writes, counts(world, NAME)

    writes, expected = world_of(stage.empty("cold"), lambda world: once(world, write=0))
    # A life that begins otherwise may write less in the end: the last few writes are no sure points.
    points = range(1, writes)
    for write in chance.sample(points, min(size, len(points))):
        world_of(stage.empty("cold"), lambda world: once(world, write=write))


async def swept(world: World, made: tuple[Step, ...], of: str, chance: random.Random, size: int, tally: Tally) -> None:
    """Every step twice without a fault; then each of its writes is somebody's last."""
    furnish(world)
    reaper, life = Reaper(world), world.begin()
    expected: dict[str, Counter[str]] = {}
    deadly: dict[str, list[int]] = {}
    # Once for what is made once and stays, such as weights; what the second time writes, each later time does.
    for step in made:
        life, _ = await converged(world, step, life)
    for step in made:
        before = reaper.writes
        life, _ = await converged(world, step, life)
        expected[step.name] = counts(world, NAME)
        writes = range(1, reaper.writes - before + 1)
        deadly[step.name] = chance.sample(writes, min(size, len(writes)))
    wished = {name: len(numbers) for name, numbers in deadly.items()}
    while any(deadly.values()):
        for step in made:
            reaper.left = write = deadly[step.name].pop() if deadly[step.name] else 0
            life, killed = await converged(world, step, life)
            tally.points[step.name + of] += killed
            if write > 1 and not killed:
                # This time it took fewer writes: the one before is tried instead.
                deadly[step.name].append(write - 1)
            tally.wrong += [
                f"{step.name}{of}, write {write}: {text}" for text in found(world, step, expected[step.name])
            ]
    await life.kill()
    tally.errors += world.errors
    for name, count in wished.items():
        if tally.points[name + of] != count:
            tally.wrong.append(f"{name}{of}: killed at {tally.points[name + of]} of {count} points")


async def converged(world: World, step: Step, life: Life) -> tuple[Life, bool]:
    """Do the step; who dies on the way is followed by another. The life that is left, and whether one died."""
    step.act(world)
    killed = False

    def over() -> bool:
        return life.client.dead or step.done(world)

    while True:
        await world.until(over, f"{NAME} to be done with: {step.name}", seconds=SETTLE_SECONDS)
        if not life.client.dead:
            return life, killed
        killed = True
        await life.kill()
        life = world.begin()


def found(world: World, step: Step, expected: Counter[str]) -> list[str]:
    """What is there that should not be, or the other way round."""
    if step.copies is None:
        return left_over(world, NAME)
    other = counts(world, NAME)
    differing = [f"{kind} x{other[kind]}" for kind in expected | other if expected[kind] != other[kind]]
    return differing + duplicates(world, NAME, copies=step.copies, gpus=step.pods)
