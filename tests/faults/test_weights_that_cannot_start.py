"""A change of the model while the control plane is away: its weights cannot be asked for, and what serves is healed."""

from pathlib import Path

from paddock_operator.kinds import REPLICA_SET

from faults.cluster.simulated.store import Place
from faults.cluster.simulated.world import GPU_MODEL, World, world_of


def copies(world: World) -> set[Place]:
    return {place for place in world.store.places() if place.kind == REPLICA_SET}


def told(world: World) -> tuple[str, str]:
    condition = world.condition("chat", "WeightsReady")
    return condition["status"], condition["reason"]


def test_what_serves_is_healed_while_the_next_weights_cannot_be_asked_for(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        for number in range(2):
            world.node(f"gpu-{number}", gpus=1)
        async with world.operator():
            world.deploy("chat", replicas=2)
            await world.until(lambda: world.serves("chat", copies=2), "both copies")
            both = copies(world)
            world.control_plane.down = True
            world.deploy("chat", model={"id": GPU_MODEL})
            await world.until(lambda: told(world) == ("False", "ControlPlaneUnreachable"), "the lack to be told")
            world.store.delete(sorted(both)[0], by="people")
            await world.until(lambda: len(copies(world)) == 2, "another one in its place", seconds=300)
            await world.until(lambda: len(world.endpoints("chat")) == 2, "both answer", seconds=300)
            world.control_plane.down = False
            await world.until(lambda: world.status("chat")["routing"]["targets"][0]["model"] == GPU_MODEL, "the change")

    world_of(tmp_path, scenario)
