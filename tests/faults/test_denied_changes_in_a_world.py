"""A change whose license goes in its middle, with the operator as main.py wires it, on the simulated cluster."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from faults.cluster.simulated.world import GPU_MODEL, World, world_of
from tests.operator.policy_server import accepted

CANARY: dict[str, Any] = {"strategy": "Canary", "steps": [{"weightPercent": 10, "seconds": 3600}]}


def revoke(world: World, license_id: str) -> None:
    acceptance, *_ = accepted("acme-inc", license_id=license_id)
    world.control_plane.put(replace(acceptance, state="revoked"))


def shares(world: World) -> dict[str, int]:
    targets = world.status("chat").get("routing", {}).get("targets", ())
    return {target["model"]: target.get("weight", 100) for target in targets if target.get("endpoints")}


def test_the_former_model_serves_on_by_its_own_license_and_stops_with_it(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        for number in range(2):
            world.node(f"gpu-{number}", gpus=1)
        async with world.operator():
            world.deploy("chat", replicas=2, rollout=CANARY)
            await world.until(lambda: world.serves("chat", copies=2), "the first model")
            before = set(world.endpoints("chat"))
            (demo,) = shares(world)
            world.deploy("chat", model={"id": GPU_MODEL})
            await world.until(lambda: GPU_MODEL in shares(world), "a canary of the other")
            revoke(world, "llama3.2")
            await world.until(lambda: shares(world) == {demo: 100}, "all requests back")
            await world.until(lambda: len(world.copies("chat")) == 2, "no copy of the other")
            assert world.condition("chat", "LicenseAccepted")["status"] == "False"
        async with world.operator("after-a-restart"):
            await world.until(lambda: len(world.endpoints("chat")) == 2, "the first model still")
            assert set(world.endpoints("chat")) & before
            await world.still(lambda: shares(world) == {demo: 100}, "it serves on", seconds=120)
            revoke(world, "paddock-demo")
            await world.until(lambda: world.copies("chat") == [], "nothing to be left")
        assert not world.endpoints("chat")

    world_of(tmp_path, scenario)
