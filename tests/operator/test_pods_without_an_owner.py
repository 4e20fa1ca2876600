"""Pods that nobody will end, since what made them let go of them: the operator ends them, after their requests."""

from typing import Any

import pytest
from paddock_core.resources import names
from paddock_core.signals import DeploymentSignal
from paddock_operator.gateways import Gateways, GatewayView
from paddock_operator.kinds import POD, REPLICA_SET
from paddock_operator.ports import Policy
from paddock_operator.times import format_time

from tests.operator.platforms import CONFIG, licensed, policy_of
from tests.operator.policy_server import registered
from tests.operator.test_lives_of_copies import DEMO


@pytest.fixture
def policy() -> Policy:
    return licensed("llama3.2")


@pytest.fixture
def world(worlds: Any, policy: Policy) -> Any:
    """One copy, which serves."""
    made = worlds.World(config=CONFIG, policy=policy, spec=DEMO)
    made.rounds()
    made.written.clear()
    return made


def let_go(world: Any, *, labels: tuple[str, ...] = (), maker: bool = False) -> str:
    """The only pod has no owner any more, nor these labels; its maker is gone, unless it stays. The pod's name."""
    (copy,) = world.names(REPLICA_SET)
    (pod,) = world.pods(copy)
    metadata = {key: value for key, value in pod["metadata"].items() if key != "ownerReferences"}
    metadata["labels"] = {key: value for key, value in metadata["labels"].items() if key not in labels}
    name = str(metadata["name"])
    world.objects[POD, name] = {**pod, "metadata": metadata}
    if not maker:
        del world.objects[REPLICA_SET, copy]
    return name


def gateway(world: Any, url: str, *, requests: int = 0, follows: bool = True) -> Gateways:
    """One that answers now."""
    told = world.parsed().routing
    signal = DeploymentSignal(
        name="acme/chat", uid="u1", routing=told.digest if follows else "another", endpoints={url: requests}
    )
    view = GatewayView(instance="g0", heard_at=world.now, age_seconds=0.0, synced=True, signal=signal)
    return Gateways(configured=True, views=(view,))


def delete(world: Any) -> None:
    world.metadata = {**world.metadata, "deletionTimestamp": format_time(world.now)}


def test_it_goes_once_gateways_were_told_and_another_copy_comes(world: Any) -> None:
    name = let_go(world)
    world.round()
    assert (POD, name) in world.objects, "gateways were told of it"
    assert not any(target.endpoints for target in world.parsed().routing.targets)
    world.round()
    assert (POD, name) not in world.objects
    world.rounds()
    assert world.parsed().ready_replicas == 1


def test_one_that_was_put_aside_by_a_label_goes_too(world: Any) -> None:
    name = let_go(world, labels=(names.COPY,))
    uid = world.objects[POD, name]["metadata"]["uid"]
    world.rounds()
    assert uid not in {item["metadata"]["uid"] for item in world.objects.values()}
    assert world.parsed().ready_replicas == 1


def test_requests_that_are_under_way_there_end_first(world: Any) -> None:
    name = let_go(world)
    url = f"http://{world.objects[POD, name]['status']['podIP']}:8000"
    world.round()
    for busy in ({"requests": 1}, {"follows": False}):
        for _ in range(5):
            world.seen["gateways"] = gateway(world, url, **busy)
            world.round()
            world.now += 5.0
            assert (POD, name) in world.objects
    world.seen["gateways"] = gateway(world, url)
    world.round()
    assert (POD, name) not in world.objects


def test_what_a_controller_holds_or_will_take_up_stays(world: Any) -> None:
    name = let_go(world, maker=True)
    for _ in range(5):
        world.round()
    assert (POD, name) in world.objects, "its ReplicaSet takes it up again"
    (copy,) = world.names(REPLICA_SET)
    owner = {"kind": "StatefulSet", "name": "theirs", "uid": "s1", "controller": True}
    pod = world.objects[POD, name]
    world.objects[POD, name] = {**pod, "metadata": {**pod["metadata"], "ownerReferences": [owner]}}
    del world.objects[REPLICA_SET, copy]
    for _ in range(5):
        world.round()
    assert (POD, name) in world.objects


@pytest.mark.parametrize("labels", [(), (names.COPY,)], ids=["orphaned", "put aside"])
@pytest.mark.parametrize("why", ["deleted", "no license"])
def test_nothing_of_a_deployment_outlives_it_or_its_license(world: Any, why: str, labels: tuple[str, ...]) -> None:
    name = let_go(world, labels=labels)
    if why == "deleted":
        delete(world)
    else:
        world.policy = policy_of(registered())
    for _ in range(10):
        world.round()
        world.now += 5.0
    assert (POD, name) not in world.objects
    assert not world.objects
    assert why == "no license" or not world.metadata["finalizers"]
