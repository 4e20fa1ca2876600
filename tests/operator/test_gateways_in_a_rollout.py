"""Rollouts as gateways hear of them: what they have confirmed, and for how long they let requests wait."""

from typing import Any

import pytest
from paddock_core.resources.llamadeployment import RolloutSpec
from paddock_core.resources.names import COPY
from paddock_core.signals import DeploymentSignal
from paddock_operator.decide.running import LONG_DRAIN_SECONDS
from paddock_operator.gateways import Gateways, GatewayView
from paddock_operator.kinds import POD, REPLICA_SET
from paddock_operator.ports import Policy

from tests.operator.platforms import CONFIG, licensed
from tests.operator.test_lives_of_copies import DEMO, revision_of

HOLD_SECONDS = RolloutSpec().hold_seconds


@pytest.fixture
def policy() -> Policy:
    return licensed("llama3.2")


def started(worlds: Any, policy: Policy, **rollout: Any) -> Any:
    """A world with one copy that serves, and a gateway that knows it."""
    world = worlds.World(config=CONFIG, policy=policy, spec={**DEMO, "rollout": rollout})
    world.rounds()
    world.seen["gateways"] = told(world)
    return world


def told(world: Any, *, routing: str | None = None, requests: int = 0) -> Gateways:
    """One gateway that answers now: what it has confirmed (None: what was told last), and its requests at each copy."""
    known = world.parsed().routing.digest if routing is None else routing
    urls = [f"http://{pod['status']['podIP']}:8000" for name in world.names() for pod in world.pods(name)]
    signal = DeploymentSignal(
        name="acme/chat", uid="u1", routing=known, endpoints=dict.fromkeys(urls, requests) if requests else {}
    )
    view = GatewayView(instance="g0", heard_at=world.now, age_seconds=0.0, synced=True, signal=signal)
    return Gateways(configured=True, views=(view,))


def step(world: Any, *, seconds: float = 5.0, **said: Any) -> None:
    world.seen["gateways"] = told(world, **said)
    world.round()
    world.pods_come()
    world.now += seconds


def test_a_gateway_that_slept_through_a_way_there_and_back_has_not_confirmed_the_end(
    worlds: Any, policy: Policy
) -> None:
    world = started(worlds, policy)
    first = world.parsed().routing
    (before,) = world.names(REPLICA_SET)
    wish = world.spec
    world.spec = {**wish, "engine": {"contextLength": 1024}}
    while revision_of(before) in {target.revision for target in world.parsed().routing.targets}:
        step(world, routing=first.digest)
    (new,) = set(world.names(REPLICA_SET)) - {before}
    world.spec = wish
    for _ in range(5):
        step(world, routing=first.digest)
    last = world.parsed().routing
    assert last.targets == first.targets
    assert last.digest != first.digest
    for _ in range(100):
        step(world, routing=first.digest)
        assert new in world.names(REPLICA_SET), "the gateway may still send requests there once it wakes up"
    step(world)
    step(world)
    assert world.names(REPLICA_SET) == [before]
    assert world.parsed().routing.digest == last.digest, "what does not change is not told anew"


def test_requests_wait_while_the_only_copy_is_replaced_but_not_behind_a_long_drain(worlds: Any, policy: Policy) -> None:
    world = started(worlds, policy, strategy="DrainFirst")
    (before,) = world.names(REPLICA_SET)
    world.spec = {**world.spec, "engine": {"contextLength": 1024}}
    began = world.now
    waits = {}
    while world.now - began < 300:
        step(world, requests=1)
        waits[world.now - 5.0 - began] = world.parsed().routing.hold_seconds
        assert not any(target.endpoints for target in world.parsed().routing.targets)
        assert world.names(REPLICA_SET) == [before]
    assert waits == {
        at: HOLD_SECONDS if at < LONG_DRAIN_SECONDS else 0 for at in (5.0 * number for number in range(60))
    }
    step(world)
    assert world.parsed().routing.hold_seconds == HOLD_SECONDS, "the drain is over: a copy is to come"
    world.seen["gateways"] = told(world)
    world.round()
    assert world.parsed().routing.hold_seconds == HOLD_SECONDS, "and loads"
    for _ in range(5):
        step(world)
    (after,) = world.names(REPLICA_SET)
    assert after != before
    assert [len(target.endpoints) for target in world.parsed().routing.targets] == [1]
    assert world.parsed().routing.hold_seconds == 0


def test_requests_wait_in_a_rollout_for_as_long_as_the_specification_says(worlds: Any, policy: Policy) -> None:
    world = started(worlds, policy, strategy="DrainFirst", holdSeconds=600)
    world.spec = {**world.spec, "engine": {"contextLength": 1024}}
    step(world, requests=1)
    assert world.parsed().routing.hold_seconds == 600


def test_requests_wait_behind_a_long_drain_where_another_copy_loads_meanwhile(worlds: Any, policy: Policy) -> None:
    world = started(worlds, policy, strategy="RollingUpdate", maxUnavailable=1)
    (before,) = world.names(REPLICA_SET)
    world.spec = {**world.spec, "engine": {"contextLength": 1024}}
    step(world, requests=1)
    for _ in range(40):
        (new,) = set(world.names(REPLICA_SET)) - {before}
        world.answer(new, "it loads")
        step(world, requests=1)
        assert not any(target.endpoints for target in world.parsed().routing.targets)
        assert world.parsed().routing.hold_seconds == HOLD_SECONDS


def test_no_request_waits_for_a_copy_that_waits_for_the_devices_of_a_long_drain(worlds: Any, policy: Policy) -> None:
    world = started(worlds, policy, strategy="RollingUpdate", maxUnavailable=1)
    (before,) = world.names(REPLICA_SET)
    world.spec = {**world.spec, "engine": {"contextLength": 1024}}
    lacking = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/1 nodes are available: 1 Insufficient cpu.",
    }
    for _ in range(20):
        step(world, requests=1)
        for (kind, _name), item in world.objects.items():
            if kind == POD and item["metadata"]["labels"][COPY] != before:
                item["status"] = {**item["status"], "conditions": [lacking]}
                item["spec"].pop("nodeName", None)
    assert len(world.names(REPLICA_SET)) == 2
    assert world.parsed().routing.hold_seconds == 0


def test_who_lets_requests_wait_for_a_stopped_deployment_lets_them_wait_behind_a_drain(
    worlds: Any, policy: Policy
) -> None:
    world = started(worlds, policy, strategy="DrainFirst")
    world.spec = {**world.spec, "scaling": {"minReplicas": 0, "maxReplicas": 1, "holdSeconds": 30}}
    world.rounds()
    world.spec = {**world.spec, "engine": {"contextLength": 1024}}
    for _ in range(40):
        step(world, requests=1)
    assert world.parsed().routing.hold_seconds == 30
