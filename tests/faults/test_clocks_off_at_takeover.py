"""An operator takes over whose wall clock is off: nothing that has just begun is taken for overdue."""

import asyncio
import random
from pathlib import Path

import pytest
from paddock_operator.kinds import NODE
from paddock_operator.times import format_time

from faults.cluster.simulated.store import Place
from faults.cluster.simulated.world import GPU_MODEL, World, world_of

DEADLINE = 60
OFF = (120.0, -120.0)
SEEDS = (10, 11, 12)


async def served(world: World) -> None:
    """Two copies on three nodes, by an operator whose clock is right."""
    for number in range(4):
        world.node(f"gpu-{number}", gpus=1)
    world.deploy("chat", model={"id": GPU_MODEL}, replicas=2, rollout={"deadlineSeconds": DEADLINE})
    await world.until(lambda: world.serves("chat", copies=2), "it to serve", seconds=3600)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_sound_change_comes_to_its_end_through_every_takeover(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)

    async def scenario(world: World) -> None:
        life = world.begin("first", skew=chance.choice(OFF))
        await served(world)
        for number in range(4):
            world.deploy("chat", engine={"maxConcurrency": 100 + number})
            for turn in range(2):
                await asyncio.sleep(chance.uniform(0.0, 10.0))
                await life.kill()
                life = world.begin(f"after-{number}-{turn}", skew=chance.choice((*OFF, 0.0)))
            await world.until(lambda: world.serves("chat", copies=2), "the change", seconds=900)
            messages = [str(item.get("message", "")) for item in world.status("chat")["revisions"]]
            assert not any("has not answered" in message for message in messages), messages
        await life.kill()
        assert world.errors == []

    world_of(tmp_path, scenario)


@pytest.mark.parametrize("skew", OFF)
def test_a_change_that_is_stuck_still_comes_to_its_deadline(tmp_path: Path, skew: float) -> None:
    async def scenario(world: World) -> None:
        life = world.begin("first", skew=-skew)
        await served(world)
        sound = {str(item["name"]) for item in world.status("chat")["revisions"]}
        world.sound = frozenset(sound)
        world.deploy("chat", engine={"maxConcurrency": 100})
        await asyncio.sleep(DEADLINE / 2)
        await life.kill()
        life = world.begin("second", skew=skew)
        back = lambda: world.condition("chat", "Progressing").get("reason") == "RolledBack"  # noqa: E731
        # What is left of the deadline, the takeover and the way back.
        took = await world.until(back, "the way back", seconds=DEADLINE / 2 + 120)
        assert took > DEADLINE / 4
        await life.kill()

    world_of(tmp_path, scenario)


@pytest.mark.parametrize("skew", OFF)
def test_a_node_that_has_just_fallen_silent_keeps_its_pods(tmp_path: Path, skew: float) -> None:
    async def scenario(world: World) -> None:
        life = world.begin("first", skew=skew)
        await served(world)
        pod = world.copies("chat")[0]
        place = Place(NODE, "", pod["spec"]["nodeName"])
        node = world.store.get(place)
        assert node is not None
        # The controller that says so has a clock of its own, and that is off the other way.
        silent = {"type": "Ready", "status": "Unknown", "lastTransitionTime": format_time(world.clock.now() - skew)}
        world.store.put(place, {**node, "status": {**node["status"], "conditions": [silent]}})

        def there() -> bool:
            return pod["metadata"]["name"] in [item["metadata"]["name"] for item in world.copies("chat")]

        await world.still(there, "its pod is left in peace", seconds=50)
        await world.until(lambda: not there(), "the copy to leave", seconds=60)
        await life.kill()

    world_of(tmp_path, scenario)
