"""Somebody takes the labels off by which the operator finds an object: it is found all the same, and gets them back."""

from pathlib import Path
from typing import Any

import pytest
from paddock_core.resources import names
from paddock_operator.kinds import CONFIG_MAP, LEADER_WORKER_SET, REPLICA_SET, Kind

from faults.cluster.simulated.store import Place
from faults.cluster.simulated.world import GPU_MODEL, SERVING, World, world_of

GROUPED: dict[str, Any] = {
    "model": {"id": GPU_MODEL}, "engine": {"type": "LLMAPI"}, "parallelism": {"tensor": 1, "pipeline": 2},
}  # fmt: skip
SPECS = {REPLICA_SET: {"replicas": 2}, LEADER_WORKER_SET: GROUPED}
COPIES = {REPLICA_SET: 2, LEADER_WORKER_SET: 1}


def places(world: World, kind: Kind) -> list[Place]:
    return sorted(place for place in world.store.places() if place.kind == kind and place.namespace == SERVING)


def labels(world: World, place: Place) -> dict[str, str]:
    found = world.store.get(place)
    assert found is not None
    return found["metadata"].get("labels") or {}


def unlabelled(world: World, place: Place, *lost: str) -> None:
    """Take these labels off; all of them where none is named."""
    live = world.store.get(place)
    assert live is not None
    left = {name: value for name, value in labels(world, place).items() if lost and name not in lost}
    world.store.put(place, {**live, "metadata": {**live["metadata"], "labels": left}}, by="others")


def uids(world: World, *kinds: Kind) -> set[str]:
    return {str(item["metadata"]["uid"]) for kind in kinds for item in world.store.all(kind)}


def gone(world: World) -> bool:
    return world.store.get(world.place("chat")) is None and not any(places(world, kind) for kind in SPECS)


async def begun(world: World, kind: Kind) -> None:
    for number in range(2):
        world.node(f"gpu-{number}", gpus=1)
    world.deploy("chat", **SPECS[kind])
    await world.until(lambda: world.serves("chat", copies=COPIES[kind]), "it to serve")


@pytest.mark.parametrize("lost", [(names.MANAGED_BY,), (names.COPY,), ()], ids=["managed-by", "copy", "all"])
@pytest.mark.parametrize("kind", SPECS, ids=lambda kind: kind.name)
def test_a_workload_gets_its_labels_back_and_none_comes_in_its_place(
    tmp_path: Path, kind: Kind, lost: tuple[str, ...]
) -> None:
    async def scenario(world: World) -> None:
        async with world.operator():
            await begun(world, kind)
            place, before = places(world, kind)[0], uids(world, kind)
            had = labels(world, place)
            unlabelled(world, place, *lost)
            took = await world.until(lambda: labels(world, place) == had, "the labels", seconds=30)
            assert took <= 10.0
            await world.still(lambda: uids(world, kind) == before, "the same workloads", seconds=60)
            assert world.serves("chat", copies=COPIES[kind])
        assert not world.errors

    world_of(tmp_path, scenario)


@pytest.mark.parametrize("kind", SPECS, ids=lambda kind: kind.name)
def test_what_lost_its_labels_while_no_operator_was_there_is_found_by_the_next(tmp_path: Path, kind: Kind) -> None:
    async def scenario(world: World) -> None:
        async with world.operator():
            await begun(world, kind)
        place, before = places(world, kind)[0], uids(world, kind)
        unlabelled(world, place)
        async with world.operator():
            await world.until(lambda: names.MANAGED_BY in labels(world, place), "the labels", seconds=120)
            await world.still(lambda: uids(world, kind) == before, "the same workloads", seconds=60)
        assert not world.errors

    world_of(tmp_path, scenario)


@pytest.mark.parametrize("kind", SPECS, ids=lambda kind: kind.name)
def test_what_lost_its_labels_goes_with_its_deployment(tmp_path: Path, kind: Kind) -> None:
    async def scenario(world: World) -> None:
        async with world.operator():
            await begun(world, kind)
        # With nobody there it loses its labels, and then its deployment is deleted.
        unlabelled(world, places(world, kind)[0])
        world.remove("chat")
        async with world.operator():
            await world.until(lambda: gone(world), "all of it to go", seconds=300)
        assert world.held_gpus() == 0
        assert not world.errors

    world_of(tmp_path, scenario)


def test_a_copy_that_is_too_many_goes_though_it_lost_its_labels(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        async with world.operator():
            await begun(world, REPLICA_SET)
            for place in places(world, REPLICA_SET):
                unlabelled(world, place, names.MANAGED_BY)
            world.deploy("chat", replicas=1)
            await world.until(lambda: world.serves("chat"), "one copy", seconds=300)
            await world.until(lambda: len(places(world, REPLICA_SET)) == 1, "the other one to go", seconds=300)
        assert not world.errors

    world_of(tmp_path, scenario)


@pytest.mark.parametrize("lost", [(names.MANAGED_BY,), (names.REVISION,), ()], ids=["managed-by", "revision", "all"])
def test_a_revision_gets_its_labels_and_annotations_back(tmp_path: Path, lost: tuple[str, ...]) -> None:
    async def scenario(world: World) -> None:
        async with world.operator():
            await begun(world, REPLICA_SET)
            (place,) = places(world, CONFIG_MAP)
            live, before = world.store.get(place), uids(world, REPLICA_SET, CONFIG_MAP)
            assert live is not None
            metadata = {name: value for name, value in live["metadata"].items() if name != "annotations"}
            world.store.put(place, {**live, "metadata": metadata}, by="others")
            unlabelled(world, place, *lost)

            def as_before() -> bool:
                found = world.store.get(place)
                assert found is not None
                return all(found["metadata"].get(part) == live["metadata"][part] for part in ("labels", "annotations"))

            assert await world.until(as_before, "its labels and annotations", seconds=30) <= 10.0
            await world.still(lambda: uids(world, REPLICA_SET, CONFIG_MAP) == before, "the same objects", seconds=60)
        assert not world.errors

    world_of(tmp_path, scenario)
