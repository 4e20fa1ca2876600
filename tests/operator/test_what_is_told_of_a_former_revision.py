"""What conditions say while copies serve that are not what the specification asks for, or none may come."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from paddock_core.policy.wire import Change
from paddock_core.resources.conditions import phase
from paddock_operator.observed import Charged
from paddock_operator.ports import Policy

from tests.operator.platforms import CONFIG, licensed
from tests.operator.test_lives_of_copies import DEMO, revision_of

LLAMA = "llama-3.2-1b-instruct"


@pytest.fixture
def policy() -> Policy:
    return licensed("llama3.2")


def told(world: Any, kind: str) -> Any:
    return next(item for item in world.parsed().conditions if item.type == kind)


def with_quota(policy: Policy, gpus: int) -> Policy:
    tenant = {**msgspec.to_builtins(policy.view.tenants["acme"]), "gpus": gpus}
    return replace(policy, view=policy.view.apply([Change(revision=1000, kind="tenant", id="acme", body=tenant)]))


def test_who_serves_by_the_former_specification_says_so(worlds: Any, policy: Policy) -> None:
    world = worlds.World(config=CONFIG, policy=policy, spec=DEMO)
    world.rounds()
    assert told(world, "Serving").message == "1 of 1 copies answered a generation"
    (revision,) = {revision_of(name) for name in world.names()}
    wish = world.spec
    world.spec = {**DEMO, "parallelism": {"tensor": 2}}
    world.rounds()
    assert (told(world, "Serving").status, told(world, "Planned").status) == ("True", "False")
    assert told(world, "Serving").message == (
        f"1 of 1 copies answered a generation; by the former specification, revision {revision}: the present one waits"
        " for the conditions that are False"
    )
    world.spec = wish
    world.rounds()
    assert told(world, "Serving").message == "1 of 1 copies answered a generation"


def test_a_copy_without_gpus_goes_on_while_its_successor_gets_none(worlds: Any, pairs: Any, policy: Policy) -> None:
    world = worlds.World(config=CONFIG, policy=with_quota(policy, 0), spec=DEMO, inventory=pairs.one_each())
    world.rounds()
    before = world.names()
    world.spec = {"model": {"id": LLAMA}}
    world.rounds()
    assert world.names() == before
    quota = told(world, "QuotaAvailable")
    assert quota.reason == "GpuQuotaExceeded"
    assert "What runs goes on, and nothing is created in its place" in quota.message
    assert told(world, "Serving").status == "True"


def test_where_nothing_runs_nothing_is_said_to_go_on(worlds: Any, pairs: Any, policy: Policy) -> None:
    world = worlds.World(
        config=CONFIG, policy=with_quota(policy, 0), spec={"model": {"id": LLAMA}}, inventory=pairs.one_each()
    )
    world.rounds()
    assert "Nothing is created for it: " in told(world, "QuotaAvailable").message


@pytest.mark.parametrize("scaling", [None, {"minReplicas": 1, "maxReplicas": 1}])
def test_one_that_is_started_without_room_is_not_said_to_be_stopped(
    worlds: Any, pairs: Any, policy: Policy, scaling: Any
) -> None:
    world = worlds.World(
        config=CONFIG, policy=with_quota(policy, 8), spec={"model": {"id": LLAMA}}, inventory=pairs.one_each()
    )
    world.rounds()
    world.spec = {**world.spec, "replicas": 0}
    world.rounds()
    assert (told(world, "Serving").reason, world.names()) == ("Stopped", [])
    world.others = 8
    world.seen["charged"] = Charged(granted=0, others=8)
    world.spec = {**world.spec, "replicas": 1} | ({} if scaling is None else {"scaling": scaling})
    world.rounds()
    serving = told(world, "Serving")
    assert (serving.reason, world.names()) == ("NotServed", [])
    assert "QuotaAvailable" in serving.message
    assert phase(world.parsed().conditions) == world.parsed().phase == "QuotaExceeded"
    assert told(world, "Progressing").reason == "GpuQuotaExceeded"
