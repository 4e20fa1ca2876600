"""What an operator with the most deployments of `bench/scale.py` is asked: rest, a storm, a cold start, a resync."""

import asyncio
import json
import sys
import time
from pathlib import Path

import scale_process as process
from paddock_core.resources import names
from paddock_operator.loop import CHILD_SECONDS
from scale_parts import SECONDS, World, counted

STORM_PER_MINUTE = 10_200
"""A little more than the 10,000 that are asked for, so that no fewer come."""
STORM = Path(__file__).with_name("scale_storm.py")
REST_SECONDS = 30.0
RESYNC_SECONDS = 40
CHILD_EVENTS, KEY_AGE, RESYNC = (
    "child events a minute, reached",
    f"key age p99 in the storm, s (upper bound; the {CHILD_SECONDS:g} s that a child's change waits included)",
    "a resync without news and all lists anew, no probe falls into it, CPU s",
)
LAG, COLD_START, FILES = (
    "event loop lag p99 in the storm, s (upper bound)",
    "cold start until all are looked at, s",
    "file descriptors",
)
"""Rows that have a target."""


async def largest(world: World, size: int, *, storm_seconds: int) -> dict[str, float]:
    """A while of rest, a storm of child events, a start with all of them there, and a resync without news."""
    extra = {"at rest, CPU s a minute (a token from each pod every 30 s)": await _spent(world, REST_SECONDS) * 60}
    process.note("at rest: looked at; now a storm of child events")
    extra |= await _storm(world, storm_seconds)
    process.note("the operator starts anew")
    await world.operator.stop()
    begin = time.monotonic()
    await world.operator.start(RESYNC_SECONDS=str(RESYNC_SECONDS), PROBE_INTERVAL_SECONDS="3600")
    await _rounds(world, size)
    extra[COLD_START] = time.monotonic() - begin
    process.note("all are looked at; now rest, then a resync")
    extra["cold start, CPU s"] = world.operator.cpu_seconds()
    await asyncio.sleep(REST_SECONDS / 2)
    extra[RESYNC] = await _spent(world, RESYNC_SECONDS) * RESYNC_SECONDS
    extra[FILES] = world.operator.descriptors()
    return extra


async def _spent(world: World, seconds: float) -> float:
    """The operator's CPU seconds in each second of a while."""
    before, begin = world.operator.cpu_seconds(), time.monotonic()
    await asyncio.sleep(seconds)
    return (world.operator.cpu_seconds() - before) / (time.monotonic() - begin)


async def _rounds(world: World, count: int) -> None:
    """Wait until the operator has made so many rounds since it started."""
    deadline = time.monotonic() + SECONDS
    while await counted(world) < count:
        assert time.monotonic() < deadline, "the rounds did not come to their end"
        await asyncio.sleep(0.25)


async def _storm(world: World, seconds: int) -> dict[str, float]:
    """Changes of pods, so many a minute if they can be written so fast."""
    before, cpu = await world.operator.metrics(), world.operator.cpu_seconds()
    places = [place for place in world.pods.objects if place[0] != names.WEIGHTS_NAMESPACE]
    took, changes = await _changed(world, places, seconds)
    after = await world.operator.metrics()
    return {
        CHILD_EVENTS: changes / took * 60,
        "storm, CPU s a minute": (world.operator.cpu_seconds() - cpu) / took * 60,
        # The queue measures from when a key is due; a change of a child makes it due only after a moment.
        KEY_AGE: CHILD_SECONDS + process.quantile(before, after, "paddock_operator_queue_wait_seconds", 0.99),
        LAG: process.quantile(before, after, "paddock_operator_loop_lag_seconds", 0.99),
    }


async def _changed(world: World, places: list[tuple[str, str]], seconds: int) -> tuple[float, int]:
    """Let a process of its own change these pods; the seconds that it took, and how many changes it made."""
    file = world.folder / "storm.json"
    file.write_text(json.dumps(places))
    words = (str(world.api.kubeconfigs["bench"]), str(file), str(STORM_PER_MINUTE), str(seconds))
    storm = await asyncio.create_subprocess_exec(sys.executable, str(STORM), *words, stdout=asyncio.subprocess.PIPE)
    try:
        said, _ = await storm.communicate()
    finally:
        if storm.returncode is None:
            storm.terminate()
            await storm.wait()
    assert storm.returncode == 0, f"the storm ended with {storm.returncode}"
    told = json.loads(said)
    return float(told["seconds"]), int(told["changes"])
