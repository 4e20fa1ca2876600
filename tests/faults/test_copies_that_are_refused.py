"""Copies that Kubernetes refuses for what they are: what is told, what is taken back, and what goes on meanwhile."""

from pathlib import Path
from typing import Any

from faults.cluster.simulated.server import RefusedError
from faults.cluster.simulated.world import World, world_of

DEADLINE = 600
POLICY = "denied by the policy of somebody"


def refusing(world: World, *, but: str = "") -> None:
    """From now on an admission policy refuses every copy, but those of one revision."""

    def refuses(method: str, path: str) -> RefusedError | None:
        _, _, name = path.partition("/replicasets/")
        taken = but and name.startswith(but)
        return RefusedError(422, POLICY, "Invalid") if method == "PATCH" and name and not taken else None

    world.api.weather.refuses = refuses


def progressing(world: World, name: str = "chat") -> tuple[Any, Any]:
    found = world.condition(name, "Progressing")
    return found.get("status"), found.get("reason")


def test_a_new_one_says_what_refuses_it_and_is_tried_again(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        refusing(world)
        async with world.operator():
            world.deploy("chat", replicas=2)
            await world.until(lambda: progressing(world) == ("False", "ApplyFailed"), "the refusal")
            said = world.condition("chat", "Progressing")["message"]
            assert POLICY in said
            assert "spec.placement" in said
            await world.still(lambda: progressing(world) == ("False", "ApplyFailed"), "told as long", seconds=600)
            world.api.weather.refuses = lambda _method, _path: None
            await world.until(lambda: world.serves("chat", copies=2), "both copies", seconds=120)

    world_of(tmp_path, scenario)


def test_a_change_whose_copies_are_refused_is_taken_back_and_the_former_ones_grow_meanwhile(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        async with world.operator():
            world.deploy("chat", rollout={"deadlineSeconds": DEADLINE})
            await world.until(lambda: world.serves("chat"), "the first copy")
            (first,) = world.workloads("chat")
            refusing(world, but=_stem(first))
            world.deploy("chat", engine={"contextLength": 1024}, replicas=2)
            await world.until(lambda: progressing(world) == ("False", "ApplyFailed"), "the refusal")
            assert world.endpoints("chat"), "what answers goes on"
            await world.until(lambda: progressing(world)[1] == "RolledBack", "the way back", seconds=DEADLINE * 3)
            assert POLICY in world.condition("chat", "Progressing")["message"]
            await world.until(lambda: len(world.endpoints("chat")) == 2, "two copies of the former revision")

    world_of(tmp_path, scenario)


def _stem(workload: dict[str, Any]) -> str:
    """What the names of a revision's copies begin with."""
    return str(workload["metadata"]["name"]).rpartition("-")[0]
