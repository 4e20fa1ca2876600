"""Changes whose copies find no place, or answer nothing: what serves meanwhile, what is told, and that they end."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from paddock_core.resources import names
from paddock_operator import gather
from paddock_operator.decide.rollout.types import Health
from paddock_operator.errors import BenchmarkError
from paddock_operator.ports import Load, Manifest, Measured
from paddock_operator.times import format_time

from faults.cluster.simulated import life
from faults.cluster.simulated.controllers import Controllers
from faults.cluster.simulated.store import Place
from faults.cluster.simulated.world import GPU_MODEL, World, world_of

DEADLINE = 600
SELECTOR = "0/8 nodes are available: 8 node(s) didn't match Pod's node affinity/selector."
GATED = "Scheduling is blocked due to non-empty scheduling gates"
STRATEGIES = ["RollingUpdate", "DrainFirst", "BlueGreen", "Canary"]
A_MINUTE = 18
WINDOW = 60.0
"""Seconds that gateways' counts of answers reach back."""


class Scheduler:
    """Places pods as ever, until it is told to place none of other revisions than these."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, reason: str, words: str) -> None:
        self.knows: set[str] | None = None
        places = Controllers._schedule
        said = {"type": "PodScheduled", "status": "False", "reason": reason, "message": words}

        def schedule(controllers: Controllers, place: Place, pod: Manifest) -> None:
            revision = pod["metadata"]["labels"].get(names.REVISION)
            if self.knows is None or revision is None or revision in self.knows:
                places(controllers, place, pod)
            elif not pod["status"].get("conditions"):
                now = format_time(controllers._clock.now())
                status = {**pod["status"], "conditions": [{**said, "lastTransitionTime": now}]}
                controllers.store.put(place, {**pod, "status": status})

        monkeypatch.setattr(Controllers, "_schedule", schedule)


async def serving(world: World, *, copies: int, strategy: str) -> None:
    for number in range(8):
        world.node(f"g{number}", gpus=1)
    rollout = {"strategy": strategy, "deadlineSeconds": DEADLINE}
    world.deploy("chat", model={"id": GPU_MODEL}, replicas=copies, rollout=rollout)
    await world.until(lambda: world.serves("chat", copies=copies), "the first copies")


def change(world: World) -> None:
    world.deploy("chat", engine={"contextLength": 1024})


def progressing(world: World) -> tuple[Any, Any]:
    found = world.condition("chat", "Progressing")
    return found.get("status"), found.get("reason")


def revisions(world: World) -> list[Manifest]:
    found: list[Manifest] = world.status("chat")["revisions"]
    return found


@pytest.mark.parametrize(("copies", "strategy"), [(1, "RollingUpdate"), (3, "RollingUpdate"), (1, "DrainFirst")])
def test_a_queue_that_gives_no_turn_takes_no_copy_away_for_longer_than_the_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, copies: int, strategy: str
) -> None:
    scheduler = Scheduler(monkeypatch, reason="SchedulingGated", words=GATED)

    async def scenario(world: World) -> None:
        async with world.operator():
            await serving(world, copies=copies, strategy=strategy)
            scheduler.knows = {item["name"] for item in revisions(world)}
            change(world)
            await world.until(lambda: len(world.endpoints("chat")) < copies, "a former copy makes room")
            await world.until(lambda: progressing(world) == ("False", "Queued"), "an alert", seconds=300)
            said = world.condition("chat", "Progressing")["message"]
            assert "a former copy went for copy" in said
            assert GATED in said
            # It drains, its time goes by, and a copy loads again.
            await world.until(lambda: len(world.endpoints("chat")) == copies, "it is back", seconds=DEADLINE + 120)
            await world.until(lambda: progressing(world) == ("False", "RolledBack"), "the way back")
            assert GATED in world.condition("chat", "Progressing")["message"]

    world_of(tmp_path, scenario)


def test_a_turn_that_comes_late_is_waited_for_where_nothing_went_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = Scheduler(monkeypatch, reason="SchedulingGated", words=GATED)

    async def scenario(world: World) -> None:
        async with world.operator():
            await serving(world, copies=1, strategy="BlueGreen")
            scheduler.knows = {item["name"] for item in revisions(world)}
            change(world)
            await world.until(lambda: progressing(world) == ("True", "Queued"), "its place in the queue")
            await world.still(lambda: progressing(world) == ("True", "Queued"), "it waits", seconds=2 * DEADLINE)
            assert len(world.endpoints("chat")) == 1

    world_of(tmp_path, scenario)


@pytest.mark.parametrize("copies", [1, 3])
def test_nothing_goes_for_a_copy_that_no_node_is_right_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, copies: int
) -> None:
    scheduler = Scheduler(monkeypatch, reason="Unschedulable", words=SELECTOR)

    async def scenario(world: World) -> None:
        async with world.operator():
            await serving(world, copies=copies, strategy="RollingUpdate")
            scheduler.knows = {item["name"] for item in revisions(world)}
            change(world)
            await world.until(lambda: progressing(world) == ("False", "Unschedulable"), "the scheduler's words")
            least: list[int] = []

            def taken_back() -> bool:
                least.append(len(world.endpoints("chat")))
                return progressing(world) == ("False", "RolledBack")

            await world.until(taken_back, "the way back", seconds=DEADLINE + 120)
            assert min(least) == copies
            assert SELECTOR in world.condition("chat", "Progressing")["message"]

    world_of(tmp_path, scenario)


@pytest.mark.parametrize("strategy", ["Canary", "BlueGreen"])
def test_a_revision_whose_trial_fails_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strategy: str
) -> None:
    """It generates a token when it is asked for one, and bears no load."""
    sound, bears = [True], life.Bencher.measure

    async def measure(bencher: life.Bencher, *, url: str, secret: str, load: Load) -> Measured:
        if not sound[0]:
            raise BenchmarkError(f"{url} answered HTTP 500: {secret}")
        return await bears(bencher, url=url, secret=secret, load=load)

    monkeypatch.setattr(life.Bencher, "measure", measure)

    async def scenario(world: World) -> None:
        async with world.operator():
            await serving(world, copies=2, strategy=strategy)
            (first,) = revisions(world)
            await world.until(lambda: "benchmark" in revisions(world)[0], "the first trial")
            sound[0] = False
            change(world)
            most: list[int] = []

            def taken_back() -> bool:
                targets = world.status("chat")["routing"]["targets"]
                most.extend(item.get("weight", 100) for item in targets if item["revision"] != first["name"])
                return progressing(world) == ("False", "RolledBack")

            await world.until(taken_back, "the way back")
            assert max(most, default=0) <= (10 if strategy == "Canary" else 0)
            assert "its trial failed" in world.condition("chat", "Progressing")["message"]
            (failed,) = (item for item in revisions(world) if item["state"] == "Failed")
            assert failed["benchmark"]["error"].endswith("answered HTTP 500: (secret)")
            assert len(world.endpoints("chat")) == 2

    world_of(tmp_path, scenario)


class Callers:
    """So many requests a minute, spread by the weights that gateways are told; answered as `fails` says."""

    def __init__(self, world: World, fails: Callable[[str], bool]) -> None:
        self._world = world
        self._fails = fails
        self._ended: list[tuple[float, str, bool]] = []

    async def run(self) -> None:
        owed: dict[str, float] = {}
        while True:
            await asyncio.sleep(60.0 / A_MINUTE)
            targets = (self._world.status("chat").get("routing") or {}).get("targets") or ()
            for target in targets:
                owed[target["revision"]] = owed.get(target["revision"], 0.0) + target.get("weight", 100) / 100
            if targets:
                name = max((target["revision"] for target in targets), key=lambda item: owed[item])
                owed[name] -= 1.0
                self._ended.append((self._world.clock.boottime(), name, self._fails(name)))

    def health(self, _gateways: object) -> dict[str, Health]:
        lately = [item for item in self._ended if item[0] > self._world.clock.boottime() - WINDOW]
        found = {}
        for name in {item[1] for item in lately}:
            failed = [item[2] for item in lately if item[1] == name]
            found[name] = Health(requests=len(failed), errors=sum(failed))
        return found


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_few_callers_all_of_whom_get_errors_are_enough_to_take_it_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strategy: str
) -> None:
    async def scenario(world: World) -> None:
        world.controllers.start_seconds = 60.0
        async with world.operator():
            await serving(world, copies=3, strategy=strategy)
            (first,) = revisions(world)
            callers = Callers(world, lambda revision: revision != first["name"])
            monkeypatch.setattr(gather, "_health", callers.health)
            asking = asyncio.create_task(callers.run())
            try:
                change(world)
                await world.until(lambda: progressing(world) == ("False", "RolledBack"), "the way back", seconds=1800)
            finally:
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)
            assert "answers failed" in world.condition("chat", "Progressing")["message"]
            assert len(world.endpoints("chat")) == 3

    world_of(tmp_path, scenario)
