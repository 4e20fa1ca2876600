"""A changed deployment whose engine never generates a token."""

import asyncio
from collections.abc import Set
from dataclasses import dataclass, field
from typing import Any

from paddock_core.resources import names
from paddock_operator.kinds import REPLICA_SET

from faults.cluster.outcome import Outcome
from faults.cluster.simulated.store import Place
from faults.cluster.simulated.world import GPU_MODEL, SERVING, World, world_of
from faults.cluster.stage import Stage

ROW = 20
WHAT = (
    "three copies change to an engine that answers nothing, by each strategy, with and without room, and with all"
    " former copies lost meanwhile, {size} times"
)
PASS = (
    "automatic stop, 0 loss of ready capacity below maxUnavailable; lost copies back while the change is still tried;"
    " the former revision whole again; not tried again"
)
SHORT, FULL = 1, 3
COPIES = 3
DEADLINE_SECONDS = 120
TRIED_SECONDS = 20.0
QUIET_SECONDS = 300.0
NAME = "chat"


@dataclass(frozen=True, kw_only=True)
class Case:
    """A way to change, the GPUs that there are, and how few copies may answer meanwhile. `loses`: once it is tried,
    the former copies are deleted, and as many have to answer again before it is given up."""

    gpus: int
    fewest: int
    loses: bool = False
    rollout: dict[str, Any] = field(default_factory=dict)


CASES = (
    Case(gpus=4, fewest=3, rollout={"strategy": "RollingUpdate"}),
    Case(gpus=4, fewest=1, rollout={"strategy": "RollingUpdate", "maxUnavailable": 2}),
    Case(gpus=3, fewest=2, rollout={"strategy": "RollingUpdate"}),
    Case(gpus=3, fewest=2, rollout={"strategy": "DrainFirst"}),
    Case(gpus=6, fewest=3, rollout={"strategy": "BlueGreen"}),
    Case(gpus=4, fewest=3, rollout={"strategy": "Canary"}),
    *(
        Case(gpus=gpus, fewest=fewest, loses=True, rollout={"strategy": strategy})
        for strategy, gpus, fewest in (
            ("RollingUpdate", 4, 3),
            ("DrainFirst", 3, 2),
            ("BlueGreen", 6, 3),
            ("Canary", 4, 3),
        )
    ),
)


def play(stage: Stage, size: int) -> Outcome:
    """Every second it is counted who answers."""
    wrong: list[str] = []
    slowest = 0.0
    for number in range(size * len(CASES)):
        case = CASES[number % len(CASES)]

        async def scenario(world: World, case: Case = case) -> float:
            return await broken(world, case, wrong)

        slowest = max(slowest, world_of(stage.empty(f"broken-{number}"), scenario))
    text = f"{size * len(CASES)} changes, never fewer answered than may, but while lost ones loaded again"
    text += f"; back after at most {slowest:.0f} s (virtual)"
    return Outcome(measured="; ".join(wrong[:4]) or text, passed=not wrong)


async def broken(world: World, case: Case, wrong: list[str]) -> float:
    """One change that fails; after how many seconds the former revision was whole again."""
    for number in range(case.gpus):
        world.node(f"gpu-{number}", gpus=1)
    world.deploy(NAME, model={"id": GPU_MODEL}, replicas=COPIES, rollout={"deadlineSeconds": DEADLINE_SECONDS})
    async with world.operator():
        await world.until(lambda: world.serves(NAME, copies=COPIES), "chat to serve", seconds=900)
        former = frozenset(current(world))
        world.sound = former
        world.deploy(NAME, engine={"maxConcurrency": 3}, rollout={"deadlineSeconds": DEADLINE_SECONDS, **case.rollout})
        began = world.clock.boottime()
        if case.loses:
            await lose(world, case, former)
        while not is_back(world):
            await asyncio.sleep(1)
            if len(world.endpoints(NAME)) < case.fewest:
                wrong.append(f"{case.rollout} with {case.gpus} GPUs: {len(world.endpoints(NAME))} copies answer")
                return 0.0
            if world.clock.boottime() - began > 4 * DEADLINE_SECONDS:
                wrong.append(f"{case.rollout} with {case.gpus} GPUs: it did not come back")
                return 0.0
        took = world.clock.boottime() - began
        await world.still(
            lambda: is_back(world) and revisions_of_copies(world) == former, "left alone", seconds=QUIET_SECONDS
        )
        reason = world.condition(NAME, "Progressing").get("reason")
        if reason != "RolledBack":
            wrong.append(f"{case.rollout}: it is called {reason}")
    wrong += world.errors
    return took


async def lose(world: World, case: Case, former: Set[str]) -> None:
    """The former copies go while the new one loads. Raises AssertionError where they come back too late."""
    await asyncio.sleep(TRIED_SECONDS)
    for item in world.workloads(NAME):
        if item["metadata"]["labels"][names.REVISION] in former:
            world.store.delete(Place(REPLICA_SET, SERVING, item["metadata"]["name"]), by="people")
    await world.until(lambda: len(world.endpoints(NAME)) < case.fewest, "the loss to be seen", seconds=60)
    left = DEADLINE_SECONDS - TRIED_SECONDS
    await world.until(lambda: len(world.endpoints(NAME)) >= case.fewest, "the former copies", seconds=left)
    assert "rollout" in world.status(NAME), "it was given up before the former copies were back"


def current(world: World) -> set[str]:
    """The revision that serves."""
    return {item["name"] for item in world.status(NAME).get("revisions", ()) if item["state"] == "Current"}


def revisions_of_copies(world: World) -> set[str]:
    return {item["metadata"]["labels"][names.REVISION] for item in world.workloads(NAME)}


def is_back(world: World) -> bool:
    """Whether the change was given up, and the former revision serves wholly and alone."""
    failed = [item for item in world.status(NAME).get("revisions", ()) if item["state"] == "Failed"]
    alone = revisions_of_copies(world) == current(world) and "rollout" not in world.status(NAME)
    return bool(failed) and alone and world.serves(NAME, copies=COPIES)
