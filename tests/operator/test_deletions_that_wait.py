"""A deployment that its tenant deletes lets requests come to their end; one that may no longer be used does not."""

from dataclasses import replace
from typing import Any

import pytest
from paddock_core.resources import names
from paddock_core.signals import DeploymentSignal
from paddock_operator.gateways import Gateways, GatewayView
from paddock_operator.kinds import POD, REPLICA_SET
from paddock_operator.ports import Policy
from paddock_operator.times import format_time

from tests.operator.platforms import CONFIG, licensed, policy_of
from tests.operator.policy_server import accepted, registered
from tests.operator.test_lives_of_copies import DEMO


@pytest.fixture
def policy() -> Policy:
    return licensed("llama3.2")


@pytest.fixture
def world(worlds: Any, policy: Policy) -> Any:
    """Two copies that serve, and a gateway that has no requests."""
    made = worlds.World(config=CONFIG, policy=policy, spec={**DEMO, "replicas": 2})
    made.rounds()
    made.seen["gateways"] = told(made)
    return made


def told(world: Any, *busy: str) -> Gateways:
    """One gateway that answers now, has confirmed what was told last, and has a request at each of these copies."""
    urls = [f"http://{pod['status']['podIP']}:8000" for name in busy for pod in world.pods(name)]
    routing = world.parsed().routing
    signal = DeploymentSignal(
        name="acme/chat",
        uid="u1",
        routing="" if routing is None else routing.digest,
        endpoints=dict.fromkeys(urls, 1),
    )
    view = GatewayView(instance="g0", heard_at=world.now, age_seconds=0.0, synced=True, signal=signal)
    return Gateways(configured=True, views=(view,))


def delete(world: Any) -> None:
    world.metadata = {**world.metadata, "deletionTimestamp": format_time(world.now)}


def step(world: Any, *busy: str, seconds: float = 5.0) -> None:
    world.seen["gateways"] = told(world, *busy)
    world.round()
    world.now += seconds


def serving(world: Any) -> Any:
    return next(item for item in world.parsed().conditions if item.type == "Serving")


def ended(world: Any) -> bool:
    return not world.objects and not world.metadata["finalizers"]


def test_each_copy_goes_when_its_own_requests_are_done(world: Any) -> None:
    first, second = world.names(REPLICA_SET)
    delete(world)
    step(world, first)
    routing = world.parsed().routing
    assert not any(target.endpoints for target in routing.targets)
    assert len(routing.leaving) == 2, "gateways are asked for both"
    for _ in range(100):
        step(world, first)
        assert first in world.names(REPLICA_SET), "somebody still reads its answer"
    assert second not in world.names(REPLICA_SET)
    assert serving(world).reason == "Draining"
    assert f"copy {first}: g0 has 1 requests left there" in serving(world).message
    for _ in range(3):
        step(world)
    assert ended(world)


def test_after_the_limit_of_a_drain_nothing_is_waited_for(world: Any) -> None:
    both = world.names(REPLICA_SET)
    delete(world)
    began = world.now
    while world.names(REPLICA_SET):
        step(world, *both)
        assert world.now - began < CONFIG.drain_limit_seconds + 60
    assert world.now - began >= CONFIG.drain_limit_seconds
    for _ in range(3):
        step(world, *both)
    assert ended(world)


def test_who_loses_the_license_is_not_waited_for(world: Any) -> None:
    both = world.names(REPLICA_SET)
    delete(world)
    step(world, *both)
    step(world, *both)
    assert world.names(REPLICA_SET) == both
    world.policy = policy_of(registered())
    step(world, *both)
    assert world.names(REPLICA_SET) == []


@pytest.mark.parametrize("status", ["True", "False"])
def test_gateways_have_the_time_to_hear_of_a_revocation(world: Any, status: str) -> None:
    """Also where Serving was False before, since too few copies answered."""
    both = world.names(REPLICA_SET)
    if status == "False":
        world.answer(both[0], "dead")
        world.spec = {**world.spec, "minAvailable": 2}
        step(world)
        step(world, seconds=600.0)
        assert serving(world).reason == "TooFewAvailable"
    world.policy = policy_of(registered())
    step(world, seconds=0.1)
    step(world, seconds=CONFIG.drain_seconds - 0.2)
    assert both[1] in world.names(REPLICA_SET)
    step(world, seconds=2.0)
    step(world)
    assert world.names(REPLICA_SET) == []


def test_a_mark_that_could_not_be_written_is_written_before_anything_goes(world: Any) -> None:
    both = world.names(REPLICA_SET)
    delete(world)
    step(world, *both)
    for name in both:
        there = world.objects[REPLICA_SET, name]
        bare = {key: value for key, value in there["metadata"]["annotations"].items() if key != names.DRAINING}
        world.objects[REPLICA_SET, name] = {**there, "metadata": {**there["metadata"], "annotations": bare}}
    step(world)
    assert world.names(REPLICA_SET) == both
    assert all(names.DRAINING in world.objects[REPLICA_SET, name]["metadata"]["annotations"] for name in both)


def test_without_gateways_that_tell_the_drain_alone_is_waited_for(worlds: Any, policy: Policy) -> None:
    world = worlds.World(config=replace(CONFIG, drain_seconds=7.0), policy=policy, spec=DEMO)
    world.rounds()
    delete(world)
    world.round()
    world.now += 6.0
    world.round()
    assert len(world.names(REPLICA_SET)) == 1
    world.now += 2.0
    world.round()
    assert world.names(REPLICA_SET) == []


def test_what_ran_before_a_wish_that_cannot_come_true_goes_when_its_own_model_may_not_be_used(
    worlds: Any, policy: Policy, pairs: Any
) -> None:
    spec = {"model": {"id": "llama-3.2-1b-instruct"}, "replicas": 2}
    world = worlds.World(config=CONFIG, policy=policy, spec=spec, inventory=pairs.one_each())
    world.rounds()
    both = world.names(REPLICA_SET)
    world.spec = {**DEMO, "replicas": 2, "engine": {"contextLength": 1_000_000}}
    world.rounds()
    assert world.names(REPLICA_SET) == both, "the former one is looked after"
    # What is lost is made anew only as long as it may be used.
    world.policy = policy_of([*registered(), *accepted("acme-inc")])
    world.objects.pop((REPLICA_SET, both[0]))
    for pod in world.pods(both[0]):
        world.objects.pop((POD, pod["metadata"]["name"]))
    world.written.clear()
    for _ in range(4):
        world.round()
        world.now += 5.0
    assert not [text for text in world.written if text.startswith("create ReplicaSet")]
    assert world.names(REPLICA_SET) == []
