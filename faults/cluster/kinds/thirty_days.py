"""Thirty days in which something goes wrong every few hours, under virtual time."""

import asyncio
import gc
import os
import random
from pathlib import Path

from paddock_operator.kinds import POD

from faults.cluster.outcome import Outcome
from faults.cluster.simulated.life import Life
from faults.cluster.simulated.world import World, world_of
from faults.cluster.stage import Stage

ROW = 29
WHAT = "{size} virtual hours of random faults: outages, silence, cuts, compactions, lost pods, changes, kills"
PASS = "tasks, files and memory return to the baseline (1 MB a day); 0 stuck keys"
SHORT, FULL = 2, 720
NAMES = tuple(f"d{number}" for number in range(6))
MB = 1e6
DAY_SECONDS = 86_400.0
BEGUN_SECONDS = 180.0
SLACK_MB = 20.0
"""What an interpreter's memory moves by without growing."""


def play(stage: Stage, size: int) -> Outcome:
    """The baseline is what there was after the first tenth of the time."""

    async def scenario(world: World) -> Outcome:
        chance, faults = stage.random("days"), 0
        for number in range(4):
            world.node(f"gpu-{number}", gpus=8)
        for name in NAMES:
            world.deploy(name)
        life = world.begin()
        base = Footprint(0, 0, 0.0)
        await settled(world)
        for hour in range(size):
            await asyncio.sleep(chance.uniform(600, 3600))
            faults += 1
            life = await harm(world, chance, life)
            await settled(world)
            # A new process has begun all that it does by then.
            await asyncio.sleep(BEGUN_SECONDS)
            if hour == size // 10:
                base = footprint()
        end = footprint()
        stuck = life.operator.loop.queue.oldest_age_seconds() if life.operator is not None else 0.0
        await life.kill()
        days = size * 3600 / DAY_SECONDS
        grown = (end.memory - base.memory) / MB
        text = (
            f"{faults} faults: {end.tasks - base.tasks:+d} tasks, {end.files - base.files:+d} files, {grown:+.1f} MB; "
        )
        text += f"the oldest key waits {stuck:.0f} s"
        passed = end.tasks <= base.tasks + 2 and end.files <= base.files and grown <= days + SLACK_MB and stuck < 1.0
        return Outcome(
            measured=text + "".join(f"; {item}" for item in world.errors[:3]), passed=passed and not world.errors
        )

    return world_of(stage.empty("days"), scenario)


class Footprint:
    """What the process holds."""

    def __init__(self, tasks: int, files: int, memory: float) -> None:
        self.tasks, self.files, self.memory = tasks, files, memory


def footprint() -> Footprint:
    """Now, without what only waits to be collected."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    memory = pages * os.sysconf("SC_PAGE_SIZE")
    return Footprint(len(asyncio.all_tasks()), len(list(Path("/proc/self/fd").iterdir())), memory)


async def settled(world: World) -> None:
    """Everything serves again: nothing is stuck, whatever it was."""
    for name in NAMES:
        await world.until(
            lambda: world.serves(name, copies=wanted(world, name)), f"{name} to serve again", seconds=7200
        )


def wanted(world: World, name: str) -> int:
    """Copies that its specification asks for."""
    found = world.store.get(world.place(name))
    return int(found["spec"].get("replicas", 1)) if found else 1


async def harm(world: World, chance: random.Random, life: Life) -> Life:
    """One fault, and its end. The life that goes on."""
    weather = world.api.weather
    match chance.randrange(8):
        case 0:
            weather.down = True
            world.api.cut()
            await asyncio.sleep(chance.uniform(1, 600))
            weather.down = False
        case 1:
            weather.silent = True
            await asyncio.sleep(chance.uniform(1, 600))
            weather.silent = False
        case 2:
            world.api.cut()
        case 3:
            world.store.compact()
            world.api.cut()
        case 4:
            pods = [place for place in world.store.places() if place.kind == POD]
            world.store.remove(chance.choice(pods), by="others")
        case 5:
            world.deploy(chance.choice(NAMES), replicas=chance.randint(1, 3))
        case 6:
            world.control_plane.down = True
            await asyncio.sleep(chance.uniform(1, 600))
            world.control_plane.down = False
        case _:
            await life.kill()
            return world.begin()
    return life
