"""GPU quota with the operator as main.py wires it, on the simulated cluster: what runs, who waits, what comes next."""

from pathlib import Path
from typing import Any

from paddock_core.policy.documents import Tenant

from faults.cluster.simulated.world import GPU_MODEL, TENANT, World, world_of

SPEC: dict[str, Any] = {"model": {"id": GPU_MODEL}}


def quota(world: World, gpus: int | None) -> None:
    world.control_plane.put(Tenant(id=TENANT, entity="acme-inc", gpus=gpus))


def nodes(world: World) -> None:
    """More GPUs than anybody may take."""
    for number in range(6):
        world.node(f"gpu-{number}", gpus=1)


def watched(world: World) -> list[int]:
    """What pods held, after every change of anything."""
    seen: list[int] = []
    world.store.listeners.append(lambda _change: seen.append(world.held_gpus()))
    return seen


def refused(world: World, name: str) -> bool:
    return bool(world.condition(name, "QuotaAvailable").get("status") == "False")


def test_who_waits_is_served_when_something_goes_and_never_more_runs_than_may(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        nodes(world)
        quota(world, 2)
        held = watched(world)
        async with world.operator():
            for name in ("a", "b", "c"):
                world.deploy(name, **SPEC)
            await world.until(lambda: sum(world.serves(name) for name in ("a", "b", "c")) == 2, "two of three")
            (waiting,) = [name for name in ("a", "b", "c") if not world.serves(name)]
            await world.until(lambda: refused(world, waiting), "the refusal")
            said = world.condition(waiting, "QuotaAvailable")["message"]
            assert f"paddock quota set --tenant {TENANT} --gpus 3" in said
            assert world.workloads(waiting) == []
        async with world.operator("after-a-restart"):
            await world.still(lambda: world.workloads(waiting) == [], "it waits", seconds=120)
            gone = next(name for name in ("a", "b") if name != waiting)
            world.remove(gone)
            await world.until(lambda: world.serves(waiting), "its turn")
        assert max(held) == 2

    world_of(tmp_path, scenario)


def test_growth_that_is_refused_leaves_what_runs(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        nodes(world)
        quota(world, 2)
        async with world.operator():
            world.deploy("chat", **SPEC, replicas=2)
            await world.until(lambda: world.serves("chat", copies=2), "both copies")
            world.deploy("chat", replicas=4)
            await world.until(lambda: refused(world, "chat"), "the refusal")
            await world.still(lambda: len(world.copies("chat")) == 2, "both run on", seconds=300)
            quota(world, 4)
            await world.until(lambda: len(world.copies("chat")) == 4, "four copies")
            quota(world, 0)
            await world.still(lambda: len(world.copies("chat")) == 4, "a lower quota takes nothing", seconds=300)

    world_of(tmp_path, scenario)


def test_a_rollout_without_free_quota_takes_a_copy_away_first(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        nodes(world)
        quota(world, 2)
        held = watched(world)
        async with world.operator():
            world.deploy("chat", **SPEC, replicas=2)
            await world.until(lambda: world.serves("chat", copies=2), "both copies")
            before = {pod["metadata"]["uid"] for pod in world.copies("chat")}
            world.deploy("chat", engine={"contextLength": 2048})
            await world.until(
                lambda: (
                    world.serves("chat", copies=2)
                    and before.isdisjoint(pod["metadata"]["uid"] for pod in world.copies("chat"))
                ),
                "both copies of the new revision",
                seconds=7200,
            )
        assert max(held) == 2

    world_of(tmp_path, scenario)


def test_nobody_has_gpus_by_default(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        nodes(world)
        quota(world, None)
        async with world.operator():
            world.deploy("chat", **SPEC)
            await world.until(lambda: refused(world, "chat"), "the refusal")
            assert world.status("chat")["phase"] == "QuotaExceeded"
            world.deploy("small")
            await world.until(lambda: world.serves("small"), "the model that takes none")

    world_of(tmp_path, scenario)


def test_a_change_that_was_refused_stands_in_line_with_the_others(tmp_path: Path) -> None:
    """What runs meanwhile, on processors, does not cost the deployment its place."""

    async def scenario(world: World) -> None:
        nodes(world)
        quota(world, 2)
        async with world.operator():
            world.deploy("chat")
            await world.until(lambda: world.serves("chat"), "on processors")
            world.deploy("big", **SPEC, replicas=2)
            await world.until(lambda: world.serves("big", copies=2), "both copies")
            world.deploy("chat", **SPEC, replicas=2)
            await world.until(lambda: refused(world, "chat"), "the refusal")
            assert world.status("chat")["quota"] == {"gpus": 0, "limit": 2, "wanted": 2}
            world.deploy("late", **SPEC, replicas=2)
            await world.until(lambda: refused(world, "late"), "the younger one's refusal")
        async with world.operator("after-a-restart"):
            world.remove("big")
            await world.until(lambda: not refused(world, "chat"), "its turn", seconds=7200)
            assert refused(world, "late")
            await world.until(lambda: world.serves("chat", copies=2), "both copies of the older one")

    world_of(tmp_path, scenario)
