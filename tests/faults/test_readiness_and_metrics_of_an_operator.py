"""What the operator's /readyz says while its control plane is away, and which deletions its metric calls overdue."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from paddock_operator.health import Health
from paddock_operator.main import watch_over
from paddock_operator.overdue import overdue
from paddock_operator.telemetry import Gauges as Labelled
from paddock_operator.telemetry import Telemetry

from faults.cluster.simulated.life import Life
from faults.cluster.simulated.world import TENANT, World, world_of

TOO_OLD_SECONDS = 1200.0
"""No policy of the simulated control plane may be so old."""
NEW: dict[str, Any] = {
    "apiVersion": "paddock.dev/v1alpha1",
    "kind": "LlamaDeployment",
    "metadata": {"namespace": TENANT, "name": "new"},
    "spec": {"model": {"id": "smollm2-135m-instruct"}},
}


class Gauges(Telemetry):
    """The gauges of one operator, which the library would keep for the whole process."""

    def __init__(self) -> None:
        self.read: dict[str, Callable[[], float]] = {}
        self.labelled: dict[str, Labelled] = {}

    def gauge(self, name: str, description: str, read: Callable[[], float]) -> None:
        del description
        self.read[name] = read

    def gauges(self, name: str, description: str, read: Labelled) -> None:
        del description
        self.labelled[name] = read


async def watched(world: World, life: Life) -> tuple[Health, Gauges]:
    """What tells of an operator, once it is wired."""
    await world.until(lambda: life.operator, "the operator")
    assert life.operator is not None
    health, gauges = Health(), Gauges()
    watch_over(life.operator, health, gauges)
    return health, gauges


def test_an_expired_policy_takes_nobody_the_webhook_which_says_so(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        async with world.operator() as life:
            health, gauges = await watched(world, life)
            await world.until(lambda: not health.unready(), "it to be ready")
            world.control_plane.down = True
            aged = gauges.read["paddock_operator_policy_age"]
            await world.until(lambda: aged() > TOO_OLD_SECONDS, "the policy to expire", seconds=TOO_OLD_SECONDS * 2)
            assert life.operator is not None
            assert life.operator.policy.current().expired
            assert health.unready() == {}
            said = life.operator.reviewer.judge(NEW, None)
            assert said.refusal is None
            assert "PolicyExpired" in "".join(said.warnings)

    world_of(tmp_path, scenario)


def test_an_operator_that_never_read_a_policy_is_not_ready(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        world.control_plane.down = True
        async with world.operator() as life:
            health, _ = await watched(world, life)
            await world.until(lambda: set(health.unready()) == {"policy"}, "all else to be ready")
            world.control_plane.down = False
            await world.until(lambda: not health.unready(), "the first policy")

    world_of(tmp_path, scenario)


@pytest.mark.parametrize("limit", [960.0, 1800.0])
def test_a_deletion_that_drains_is_not_overdue_before_the_limit_of_drains(limit: float) -> None:
    begun = {"metadata": {"deletionTimestamp": "1970-01-01T00:00:00Z"}}
    objects = [begun, {"metadata": {}}]
    assert overdue(objects, now=limit + 200.0, drain_limit_seconds=limit) == 0
    assert overdue(objects, now=limit + 300.0, drain_limit_seconds=limit) == 1


def test_the_metric_of_overdue_deletions_knows_the_setting(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        async with world.operator() as life:
            _, gauges = await watched(world, life)
            late = gauges.read["paddock_operator_deletions_overdue"]
            place = world.place("held")
            world.deploy("held", license={"accept": False})
            stored = world.store.get(place)
            assert stored is not None
            held = {**stored["metadata"], "finalizers": ["paddock.dev/serving", "others.example/held"]}
            world.store.put(place, {**stored, "metadata": held}, by="others")
            world.remove("held")
            began = world.clock.boottime()
            await world.until(lambda: late() == 1, "the metric", seconds=5000)
            assert 1800.0 <= world.clock.boottime() - began <= 2400.0

    world_of(tmp_path, scenario, drain_limit_seconds=1800.0)


def test_deployments_are_counted_by_condition_until_they_go_and_by_who_leads_alone(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        async with world.operator() as life:
            _, gauges = await watched(world, life)
            read = gauges.labelled["paddock_operator_conditions"]

            def counted() -> dict[tuple[str, ...], float]:
                return {tuple(labels.values()): value for value, labels in read()}

            world.deploy("chat")
            world.deploy("other")
            world.deploy("declined", license={"accept": False})
            await world.until(lambda: counted().get(("Serving", "True", "Serving")) == 2, "both to be counted")

            def coming() -> list[tuple[str, ...]]:
                return [series for series in counted() if series[:2] == ("Progressing", "True")]

            await world.until(lambda: not coming(), "all to be as asked")
            assert counted()["Progressing", "False", "AcceptDeclined"] == 1
            world.remove("other")
            world.remove("declined")
            await world.until(
                lambda: counted().get(("Accepted", "True", "Accepted")) == 1, "the others to be forgotten"
            )
            assert set(counted().values()) == {1.0}
            assert life.operator is not None
            life.operator.leader.leading.clear()
            assert counted() == {}

    world_of(tmp_path, scenario)
