"""What makes a copy's pods is deleted without them, or lets one go that lost its label: the operator ends such a pod,
once another copy may come, and with its deployment or the license at the latest."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from paddock_core.resources import names
from paddock_operator.kinds import LEADER_WORKER_SET, POD, REPLICA_SET
from paddock_operator.ports import Manifest

from faults.cluster.simulated.store import Place
from faults.cluster.simulated.world import GPU_MODEL, SERVING, World, world_of

ONE: dict[str, Any] = {"model": {"id": GPU_MODEL}}
PAIR: dict[str, Any] = {**ONE, "engine": {"type": "LLMAPI"}, "parallelism": {"tensor": 1, "pipeline": 2}}


def orphaned(world: World) -> list[str]:
    """The workload of the only copy is deleted, and its pods stay without an owner. Their uids."""
    (workload,) = world.workloads("chat")
    pods = world.children("chat")[POD]
    for pod in pods:
        bare = {name: value for name, value in pod["metadata"].items() if name != "ownerReferences"}
        world.store.put(Place(POD, SERVING, pod["metadata"]["name"]), {**pod, "metadata": bare}, by="people")
    kind = REPLICA_SET if workload["kind"] == REPLICA_SET.name else LEADER_WORKER_SET
    world.store.delete(Place(kind, SERVING, workload["metadata"]["name"]), by="people")
    return [str(pod["metadata"]["uid"]) for pod in pods]


def put_aside(world: World) -> list[str]:
    """The only pod loses the label of its copy, so its ReplicaSet lets it go. Its uid."""
    (pod,) = world.children("chat")[POD]
    labels = {name: value for name, value in pod["metadata"]["labels"].items() if name != names.COPY}
    changed = {**pod["metadata"], "labels": labels}
    world.store.put(Place(POD, SERVING, pod["metadata"]["name"]), {**pod, "metadata": changed}, by="people")
    return [str(pod["metadata"]["uid"])]


def pods(world: World) -> list[Manifest]:
    return world.store.all(POD)


def ended(world: World, uids: list[str]) -> bool:
    return not set(uids) & {pod["metadata"]["uid"] for pod in pods(world)}


async def serving(world: World, spec: dict[str, Any], *, nodes: int) -> None:
    for number in range(nodes):
        world.node(f"gpu-{number}", gpus=1)
    world.deploy("chat", **spec)
    await world.until(lambda: world.serves("chat"), "it to serve")


@pytest.mark.parametrize(
    ("spec", "nodes", "let_go"),
    [(ONE, 1, orphaned), (ONE, 2, orphaned), (ONE, 2, put_aside), (PAIR, 2, orphaned)],
    ids=["the only GPU", "one more GPU", "a label", "a group"],
)
def test_another_copy_serves_and_the_pod_gives_its_gpu_back(
    tmp_path: Path, spec: dict[str, Any], nodes: int, let_go: Any
) -> None:
    async def scenario(world: World) -> None:
        async with world.operator():
            await serving(world, spec, nodes=nodes)
            left = let_go(world)
            await world.until(lambda: ended(world, left), "what nobody holds to end", seconds=120)
            await world.until(lambda: world.serves("chat"), "another copy to serve", seconds=300)
            assert world.held_gpus() == len(left)
        assert world.errors == []

    world_of(tmp_path, scenario)


@pytest.mark.parametrize("why", ["deleted", "no license"])
@pytest.mark.parametrize("let_go", [orphaned, put_aside])
def test_nothing_outlives_its_deployment_or_the_license(tmp_path: Path, why: str, let_go: Any) -> None:
    """Also where it was let go while no operator looked."""

    async def scenario(world: World) -> None:
        async with world.operator():
            await serving(world, ONE, nodes=2)
        left = let_go(world)
        if why == "deleted":
            world.remove("chat")
        else:
            world.control_plane.remove("acceptance", "acc-acme-inc-llama3.2")
        async with world.operator():
            await world.until(lambda: ended(world, left), "what nobody holds to end", seconds=300)
            await world.until(lambda: POD not in world.children("chat"), "all its pods to end", seconds=300)
            if why == "deleted":
                await world.until(lambda: world.store.get(world.place("chat")) is None, "it to go", seconds=300)
                assert world.children("chat") == {}
        assert world.errors == []

    world_of(tmp_path, scenario)


def test_a_pod_that_only_lost_its_owner_is_taken_up_again_and_serves_on(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        async with world.operator():
            await serving(world, ONE, nodes=2)
            (pod,) = world.children("chat")[POD]
            bare = {name: value for name, value in pod["metadata"].items() if name != "ownerReferences"}
            world.store.put(Place(POD, SERVING, pod["metadata"]["name"]), {**pod, "metadata": bare}, by="people")
            await asyncio.sleep(120)
            (after,) = world.children("chat")[POD]
            assert after["metadata"]["uid"] == pod["metadata"]["uid"]
            assert world.serves("chat")
        assert world.errors == []

    world_of(tmp_path, scenario)
