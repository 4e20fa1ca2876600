"""An upgrade of the operator while deployments serve, and the way back."""

from typing import Any

from paddock_operator.kinds import POD

from faults.cluster.outcome import Outcome
from faults.cluster.simulated.world import GPU_MODEL, SERVING, World, world_of
from faults.cluster.stage import Stage

ROW = 21
WHAT = "ten deployments serve; an operator that renders otherwise takes over, and then the former again, {size} times"
PASS = "uid, generation and restarts of every child stay the same: 0 restarted; drift is told"
SHORT, FULL = 1, 10
DEPLOYMENTS = 10
OTHER = {"image_pull_policy": "Always", "serving_image": "registry.test/serving:2", "monitoring_namespace": "watchers"}
QUIET_SECONDS = 120.0


def play(stage: Stage, size: int) -> Outcome:
    """Copies of every other deployment are groups of two pods: all kinds of children are there."""

    async def scenario(world: World) -> Outcome:
        wanted = [f"chat-{number}" for number in range(DEPLOYMENTS)]
        for number in range(DEPLOYMENTS):
            world.node(f"gpu-{number}", gpus=2)
        for number, name in enumerate(wanted):
            more: dict[str, Any] = GROUP if number % 2 else {}
            world.deploy(name, model={"id": GPU_MODEL}, **more)
        async with world.operator():
            for name in wanted:
                await world.until(lambda name=name: world.serves(name), f"{name} to serve", seconds=1800)  # type: ignore[misc]
        before, told = running(world), 0
        for _ in range(size):
            async with world.operator(**OTHER):
                for name in wanted:
                    await world.until(lambda name=name: drifted(world, name), "drift to be told", seconds=300)  # type: ignore[misc]
                    told += 1
                await world.still(lambda: served(world, wanted), "all serve", seconds=QUIET_SECONDS)
            changed = differing(before, running(world))
            if changed:
                return Outcome(measured=f"after the upgrade: {', '.join(changed[:4])}", passed=False)
            async with world.operator():
                for name in wanted:
                    await world.until(lambda name=name: not drifted(world, name), "no drift", seconds=300)  # type: ignore[misc]
                await world.still(lambda: served(world, wanted), "all serve", seconds=QUIET_SECONDS)
            changed = differing(before, running(world))
            if changed:
                return Outcome(measured=f"after the way back: {', '.join(changed[:4])}", passed=False)
        text = f"{len(before)} workloads and pods, {2 * size} operators: 0 restarted; drift told {told} times"
        return Outcome(measured="; ".join([text, *world.errors[:3]]), passed=not world.errors)

    return world_of(stage.empty("replaced"), scenario)


GROUP = {"engine": {"type": "LLMAPI"}, "parallelism": {"tensor": 1, "pipeline": 2}}
"""A copy that is two pods."""


def running(world: World) -> dict[str, tuple[str, int, int]]:
    """Uid, generation and restarts of every workload and pod."""
    found = {}
    for place in world.store.places():
        item = world.store.get(place)
        if item is None or place.namespace != SERVING or place.kind.name not in KINDS:
            continue
        statuses = (item.get("status") or {}).get("containerStatuses") or () if place.kind == POD else ()
        restarts = sum(status.get("restartCount", 0) for status in statuses)
        metadata = item["metadata"]
        found[f"{place.kind.name} {place.name}"] = (metadata["uid"], metadata.get("generation", 0), restarts)
    return found


KINDS = ("ReplicaSet", "LeaderWorkerSet", "Pod", "ConfigMap", "Secret")


def differing(before: dict[str, tuple[str, int, int]], after: dict[str, tuple[str, int, int]]) -> list[str]:
    return [name for name in sorted(before | after) if before.get(name) != after.get(name)]


def drifted(world: World, name: str) -> bool:
    return world.status(name).get("drifted") is True


def served(world: World, wanted: list[str]) -> bool:
    return all(len(world.endpoints(name)) == 1 for name in wanted)
