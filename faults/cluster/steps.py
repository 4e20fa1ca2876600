"""The life of one deployment in steps, each of which some fault spoils: created, scaled, upgraded, deleted."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from paddock_core.resources import names

from faults.cluster.checking import is_gone
from faults.cluster.simulated.world import GPU_MODEL, World

NAME = "chat"
SETTLE_SECONDS = 3600.0


@dataclass(frozen=True, kw_only=True)
class Step:
    """What people do, and how many copies serve in the end; None where nothing is to be left. A copy has as many pods,
    each with one GPU."""

    name: str
    act: Callable[[World], None]
    copies: int | None
    pods: int = 1

    def done(self, world: World) -> bool:
        """Whether its end is reached."""
        if self.copies is None:
            return is_gone(world, NAME)
        return world.serves(NAME, copies=self.copies) and is_settled(world)


def is_settled(world: World) -> bool:
    """Whether no rollout goes on: all copies are of one revision, and it is the current one."""
    status = world.status(NAME)
    current = {item["name"] for item in status.get("revisions") or () if item.get("state") == "Current"}
    running = {str(item["metadata"]["labels"].get(names.REVISION)) for item in world.workloads(NAME)}
    return running == current and len(status.get("revisions") or ()) == 1 and "rollout" not in status


def steps() -> tuple[Step, ...]:
    """In their order; after the last one they can begin anew."""
    model = {"id": GPU_MODEL}
    return (
        Step(name="create", act=lambda world: world.deploy(NAME, model=model, replicas=2), copies=2),
        Step(name="scale up", act=lambda world: world.deploy(NAME, replicas=3), copies=3),
        Step(name="scale down", act=lambda world: world.deploy(NAME, replicas=1), copies=1),
        Step(name="upgrade", act=lambda world: world.deploy(NAME, engine={"maxConcurrency": 8}), copies=1),
        Step(name="delete", act=lambda world: world.remove(NAME), copies=None),
    )


def steps_of_a_group() -> tuple[Step, ...]:
    """The life of one whose copies are groups of two nodes."""
    engine = {"type": "LLMAPI"}
    spec: dict[str, Any] = {"model": {"id": GPU_MODEL}, "engine": engine, "parallelism": {"tensor": 1, "pipeline": 2}}
    busier = {**engine, "maxConcurrency": 8}
    return (
        Step(name="create", act=lambda world: world.deploy(NAME, **spec, replicas=1), copies=1, pods=2),
        Step(name="scale up", act=lambda world: world.deploy(NAME, replicas=2), copies=2, pods=2),
        Step(name="scale down", act=lambda world: world.deploy(NAME, replicas=1), copies=1, pods=2),
        Step(name="upgrade", act=lambda world: world.deploy(NAME, engine=busier), copies=1, pods=2),
        Step(name="delete", act=lambda world: world.remove(NAME), copies=None),
    )


def furnish(world: World) -> None:
    """Nodes with GPUs for the steps and for one copy more."""
    for number in range(4):
        world.node(f"gpu-{number}", gpus=1)
