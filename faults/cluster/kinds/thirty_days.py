"""Thirty days in which something goes wrong every hour or so, under virtual time."""

import asyncio
import gc
import os
import random
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from statistics import linear_regression

from paddock_operator.kinds import POD

from faults.cluster.outcome import Outcome
from faults.cluster.simulated.life import Life
from faults.cluster.simulated.world import World, world_of
from faults.cluster.stage import Stage

ROW = 29
WHAT = (
    "{size} virtual hours of random faults, about one an hour: outages, silence, cuts, compactions, lost pods, changes,"
    " deployments that come and go, an operator that is killed once in two days"
)
PASS = "memory grows by at most 1 MB a day (slope over all days but the first); tasks and files return; 0 stuck keys"
SHORT, FULL = 3, 720
NAMES = ("d0", "d1", "d2")
MB = 1e6
DAY_SECONDS = 86_400.0
HOUR_SECONDS = 3_600.0
CALM_SECONDS = 300.0
"""What is over is over by then: closing a watch, a repeated list, a probe."""
KILLED_EVERY = 48
MOST_KEPT = 2_000
STUCK_SECONDS = 5.0
SLACK_MB = 6.0
"""By so much an interpreter's memory moves without growing: a slope over less than a few days says only that."""
PROBE_SECONDS = 120.0
"""Asked four times as rarely as by default, which a month's worth of rounds takes four times as long for."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """What the process holds, without what only waits to be collected."""

    day: float
    tasks: int
    files: int
    memory: float


def play(stage: Stage, size: int) -> Outcome:
    """So many hours by the clock of the world, whatever was done in them."""

    async def scenario(world: World) -> Outcome:
        chance = stage.random("days")
        # What the world itself remembers is as much on the first day as on the last.
        world.store.most_changes, world.api.calls = MOST_KEPT, deque(maxlen=MOST_KEPT)
        for number in range(4):
            world.node(f"gpu-{number}", gpus=8)
        for name in NAMES:
            world.deploy(name)
        life, began = world.begin(), world.clock.boottime()
        seen, stuck, hour = list[Footprint](), 0.0, 0
        await settled(world)
        while world.clock.boottime() - began < size * HOUR_SECONDS:
            hour += 1
            life = await harm(world, chance, life, kills=hour % KILLED_EVERY == 0)
            await settled(world)
            await asyncio.sleep(CALM_SECONDS)
            stuck = max(stuck, life.operator.loop.queue.oldest_age_seconds() if life.operator else 1e9)
            seen.append(footprint(day=(world.clock.boottime() - began) / DAY_SECONDS))
            await asyncio.sleep(chance.uniform(0, max(0.0, began + hour * HOUR_SECONDS - world.clock.boottime()) * 2))
        await life.kill()
        return outcome(seen, stuck=stuck, errors=world.errors)

    return world_of(stage.empty("days"), scenario, probe_interval_seconds=PROBE_SECONDS)


def outcome(seen: list[Footprint], *, stuck: float, errors: list[str]) -> Outcome:
    """What the days came to. Nothing but memory may differ from what there was after the first fault."""
    first, last = seen[0], seen[-1]
    grows = growth([item for item in seen if item.day >= min(1.0, last.day / 2)])
    tasks = max(item.tasks for item in seen[len(seen) // 2 :]) - first.tasks
    files = max(item.files for item in seen[len(seen) // 2 :]) - first.files
    text = f"{len(seen)} faults in {last.day:.1f} days: {grows:+.2f} MB a day ({last.memory / MB:.0f} MB at the end), "
    text += f"{tasks:+d} tasks, {files:+d} files; the oldest key waited {stuck:.1f} s"
    # What is left of a few hours is no slope.
    allowed = 1.0 + SLACK_MB / last.day**2
    passed = grows <= allowed and tasks <= 2 and files <= 0 and stuck < STUCK_SECONDS and not errors
    return Outcome(measured=text + "".join(f"; {item}" for item in errors[:3]), passed=passed)


def growth(seen: list[Footprint]) -> float:
    """MB a day: the slope of the line that fits best, by least squares."""
    if len(seen) < 2:
        return 0.0
    return linear_regression([item.day for item in seen], [item.memory / MB for item in seen]).slope


def footprint(*, day: float) -> Footprint:
    """Now."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    memory = float(pages * os.sysconf("SC_PAGE_SIZE"))
    return Footprint(day, len(asyncio.all_tasks()), len(list(Path("/proc/self/fd").iterdir())), memory)


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


async def harm(world: World, chance: random.Random, life: Life, *, kills: bool) -> Life:
    """One fault, and its end. The life that goes on."""
    weather = world.api.weather
    if kills:
        await life.kill()
        return world.begin()
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
            # Under a name that was never there: what is kept of those that went would pile up.
            name = f"guest-{int(world.clock.boottime())}"
            world.deploy(name)
            await world.until(lambda: world.serves(name), "a guest to serve", seconds=7200)
            world.remove(name)
            await world.until(lambda: not world.children(name), "the guest to be gone", seconds=7200)
    return life
