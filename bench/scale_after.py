"""What an operator with the most deployments of `bench/scale.py` is asked: rest, a storm, a cold start, a resync."""

import asyncio
import time
from typing import Any

import scale_process as process
from paddock_core.resources import names
from paddock_operator.loop import CHILD_SECONDS
from scale_parts import SECONDS, World, counted

STORM_PER_MINUTE = 10_200
"""A little more than the 10,000 that are asked for, so that no fewer come."""
STORM = "bench.paddock.dev/Storm"
STORM_AT_ONCE = 32
REST_SECONDS = 30.0
RESYNC_SECONDS = 40
CHILD_EVENTS, KEY_AGE, RESYNC = (
    "child events a minute, reached",
    f"key age p99 in the storm, s (upper bound; the {CHILD_SECONDS:g} s that a child's change waits included)",
    "a resync without news and all lists anew, no probe falls into it, CPU s",
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
    extra["cold start until all are looked at, s"] = time.monotonic() - begin
    process.note("all are looked at; now rest, then a resync")
    extra["cold start, CPU s"] = world.operator.cpu_seconds()
    await asyncio.sleep(REST_SECONDS / 2)
    extra[RESYNC] = await _spent(world, RESYNC_SECONDS) * RESYNC_SECONDS
    extra["file descriptors"] = world.operator.descriptors()
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
    """Changes of pods, so many a minute if they can be written so fast; each is of a condition in the status, which
    nobody of us may overlook."""
    before, cpu = await world.operator.metrics(), world.operator.cpu_seconds()
    places = [place for place in world.pods.objects if place[0] != names.WEIGHTS_NAMESPACE]
    total, begin = STORM_PER_MINUTE * seconds // 60, time.monotonic()
    # Fewer than there are pods: two writes of one would only meet in a conflict.
    slots = asyncio.Semaphore(min(STORM_AT_ONCE, max(1, len(places) // 2)))

    async def touch(number: int) -> None:
        namespace, name = places[number % len(places)]
        said = {"type": STORM, "status": "True", "reason": "Bench", "message": str(number)}
        async with slots:
            await world.admin.apply(_pod_status(namespace, name, [said]), subresource="status")

    async with asyncio.TaskGroup() as tasks:
        for number in range(total):
            await asyncio.sleep(max(0.0, begin + number * 60 / STORM_PER_MINUTE - time.monotonic()))
            tasks.create_task(touch(number))
    took = time.monotonic() - begin
    after = await world.operator.metrics()
    return {
        CHILD_EVENTS: total / took * 60,
        "storm, CPU s a minute": (world.operator.cpu_seconds() - cpu) / took * 60,
        # The queue measures from when a key is due; a change of a child makes it due only after a moment.
        KEY_AGE: CHILD_SECONDS + process.quantile(before, after, "paddock_operator_queue_wait_seconds", 0.99),
        "event loop lag p99, s": process.quantile(before, after, "paddock_operator_loop_lag_seconds", 0.99),
    }


def _pod_status(namespace: str, name: str, conditions: list[dict[str, Any]]) -> dict[str, Any]:
    metadata = {"namespace": namespace, "name": name}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "status": {"conditions": conditions}}
