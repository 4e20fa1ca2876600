"""People write nonsense into a status, or clean up Jobs that ended: rounds go on, and what serves is healed."""

import asyncio
import copy
from pathlib import Path

import pytest
from paddock_operator.kinds import JOB, REPLICA_SET

from faults.cluster.simulated.store import Place
from faults.cluster.simulated.world import World, world_of


@pytest.mark.parametrize("field", ["savedUntil", "belowSince", "idleSince"])
def test_a_time_in_the_status_that_is_none_ends_no_round(tmp_path: Path, field: str) -> None:
    async def scenario(world: World) -> None:
        world.node("gpu-0", gpus=2)
        async with world.operator():
            world.deploy("chat", replicas=1, scaling={"minReplicas": 0, "maxReplicas": 2})
            await world.until(lambda: world.serves("chat"), "the copy to serve", seconds=600)
            place = world.place("chat")
            edited = copy.deepcopy(world.store.get(place))
            assert edited is not None
            edited["status"]["scaling"][field] = "soon"
            world.store.put(place, edited, by="people")
            world.deploy("chat", engine={"contextLength": 1024})
            await world.until(lambda: world.status("chat")["observedGeneration"] == 2, "the change", seconds=600)
            await asyncio.sleep(60)
            assert world.errors == []

    world_of(tmp_path, scenario)


def test_a_copy_comes_back_though_its_weights_job_was_cleaned_up_and_fails_now(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        world.node("gpu-0", gpus=4)

        def copies() -> list[Place]:
            return sorted(place for place in world.store.places() if place.kind == REPLICA_SET)

        async with world.operator():
            world.deploy("chat", replicas=2)
            await world.until(lambda: world.serves("chat", copies=2), "both copies", seconds=600)
            world.controllers.failing = "401 from the source"
            for place in [place for place in world.store.places() if place.kind == JOB]:
                world.store.delete(place, by="people")
            await world.until(lambda: world.condition("chat", "WeightsReady")["status"] == "False", "the lack")
            world.store.delete(copies()[0], by="people")
            world.deploy("chat", replicas=3)
            await world.until(lambda: len(world.endpoints("chat")) == 3, "all three", seconds=300)
            assert world.condition("chat", "WeightsReady")["reason"] == "WeightsFailed"

    world_of(tmp_path, scenario)
