"""The operator's process dies after any of its writes, and another one goes on from there."""

from collections import Counter

from faults.cluster.checking import counts, duplicates, left_over
from faults.cluster.outcome import Outcome
from faults.cluster.simulated.api import Client
from faults.cluster.simulated.life import Life
from faults.cluster.simulated.world import World, world_of
from faults.cluster.stage import Stage
from faults.cluster.steps import NAME, SETTLE_SECONDS, Step, furnish, steps

ROW = 1
WHAT = "the operator is killed after a write of creating, scaling, upgrading and deleting: at {size} of each at most"
PASS = "all points converge; 0 duplicate children, 0 leaked GPUs"
SHORT, FULL = 2, 1_000


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
    """Every step once without a fault, for what is to be there; then each of its writes is somebody's last."""

    async def scenario(world: World) -> Outcome:
        furnish(world)
        reaper, life, chance = Reaper(world), world.begin(), stage.random("killed")
        expected: dict[str, Counter[str]] = {}
        deadly: dict[str, list[int]] = {}
        # Once for what is made once and stays, such as weights; what the second time writes, each later time does.
        for step in steps():
            life, _ = await converged(world, step, life)
        for step in steps():
            before = reaper.writes
            life, _ = await converged(world, step, life)
            expected[step.name] = counts(world, NAME)
            writes = range(1, reaper.writes - before + 1)
            deadly[step.name] = chance.sample(writes, min(size, len(writes)))
        wished = {name: len(numbers) for name, numbers in deadly.items()}
        points, wrong = Counter[str](), list[str]()
        while any(deadly.values()):
            for step in steps():
                reaper.left = write = deadly[step.name].pop() if deadly[step.name] else 0
                life, killed = await converged(world, step, life)
                points[step.name] += killed
                if write > 1 and not killed:
                    # This time it took fewer writes: the one before is tried instead.
                    deadly[step.name].append(write - 1)
                wrong += [f"{step.name}, write {write}: {text}" for text in found(world, step, expected[step.name])]
        await life.kill()
        told = ", ".join(f"{name} {count}" for name, count in points.items())
        bad = wrong + world.errors
        missed = [name for name, count in points.items() if count != wished[name]]
        bad += [f"{name}: killed at {points[name]} of {wished[name]} points" for name in missed]
        text = f"{sum(points.values())} points ({told}): {len(wrong)} ended otherwise; {len(world.errors)} errors"
        return Outcome(measured=text + "".join(f"; {item}" for item in bad[:3]), passed=not bad)

    return world_of(stage.empty("killed"), scenario)


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
    return differing + duplicates(world, NAME, copies=step.copies, gpus=1)
