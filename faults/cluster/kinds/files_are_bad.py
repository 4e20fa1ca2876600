"""What a new revision needs cannot be had: its image is not pulled, or the files of its model are others than named."""

import asyncio

from paddock_operator.kinds import JOB

from faults.cluster.outcome import Outcome
from faults.cluster.simulated.store import Change
from faults.cluster.simulated.world import GPU_MODEL, World, world_of
from faults.cluster.stage import Stage

ROW = 19
WHAT = "a deployment that serves is changed to what no node can pull, then to a model with corrupt files; {size} times"
PASS = "no request to it; back-off; the former revision goes on serving; it comes once it can be had"
SHORT, FULL = 1, 10
HOUR = 3600.0
WATCH_SECONDS = 1200.0
MOST_JOBS = 5
FIRST_PAUSE_SECONDS = 60.0
CORRUPT = "WeightsChecksumMismatch: model.safetensors is another file than the one that is named"


def play(stage: Stage, size: int) -> Outcome:
    """Both are watched for 20 minutes."""
    notes: list[str] = []
    most_jobs = 0
    for number in range(size):

        async def scenario(world: World) -> None:
            nonlocal most_jobs
            jobs: list[str] = []
            world.store.listeners.append(lambda change: note_job(world, change, jobs))
            for node in range(2):
                world.node(f"gpu-{node}", gpus=1)
            world.deploy("chat", replicas=2)
            async with world.operator():
                await world.until(lambda: world.serves("chat", copies=2), "chat to serve", seconds=600)
                former = set(world.endpoints("chat"))
                world.controllers.unpullable = "registry.test/serving"
                world.deploy("chat", engine={"contextLength": 1024}, rollout={"deadlineSeconds": 600})
                await watch(world, former, reason="ImagePullFailed", kind="", notes=notes)
                world.controllers.unpullable = ""
                world.deploy("chat", engine={"contextLength": 2048})
                await world.until(lambda: new_ones(world, former), "the change to come", seconds=HOUR)
                former, before = set(world.endpoints("chat")), len(jobs)
                world.controllers.failing = CORRUPT
                world.deploy("chat", model={"id": GPU_MODEL}, engine={})
                await watch(world, former, reason="WeightsChecksumMismatch", kind="WeightsReady", notes=notes)
                most_jobs = max(most_jobs, len(jobs) - before)
                world.controllers.failing = ""
                await world.until(lambda: new_ones(world, former), "the other model to come", seconds=3 * HOUR)
            notes.extend(world.errors)

        world_of(stage.empty(f"bad-{number}"), scenario)
    text = f"the former ones served all the time; {most_jobs} Jobs in the 20 minutes of corrupt files"
    passed = not notes and 0 < most_jobs <= MOST_JOBS
    return Outcome(measured=text if not notes else "; ".join(notes[:4]), passed=passed)


async def watch(world: World, former: set[str], *, reason: str, kind: str, notes: list[str]) -> None:
    """For a while requests go to the former copies alone, and it is told why. `kind` is the condition that says so,
    empty where a message of any does."""
    told, began = False, world.clock.boottime()
    while world.clock.boottime() - began < WATCH_SECONDS:
        await asyncio.sleep(5)
        now = set(world.endpoints("chat"))
        if not now <= former:
            notes.append(f"requests went to {now - former}")
            return
        if not now:
            notes.append("nothing served")
            return
        conditions = world.status("chat").get("conditions") or ()
        told |= any(
            item["reason"] == reason if kind else reason in (item["reason"], *item["message"].split())
            for item in conditions
            if kind in ("", item["type"])
        )
    if not told:
        notes.append(f"{reason} was told nowhere")


def new_ones(world: World, former: set[str]) -> bool:
    """Whether other copies than those serve what is asked for."""
    return world.serves("chat", copies=2) and not former & set(world.endpoints("chat"))


def note_job(world: World, change: Change, jobs: list[str]) -> None:
    """Each Job asks for twice the pause of the one before, as the real ones do: they count failures on the volume."""
    if change.place.kind == JOB and change.type == "ADDED":
        jobs.append(change.place.name)
        if world.controllers.failing:
            pause = FIRST_PAUSE_SECONDS * 2 ** jobs.count(change.place.name)
            world.controllers.failing = f'{CORRUPT}\n{{"retryAfterSeconds": {pause}}}'
