"""A pod that was deleted and does not go: it is named, and a change that waits for its GPU is given up in time."""

from typing import Any

import pytest
from paddock_core.resources.llamadeployment import RolloutSpec
from paddock_operator.decide import copies, lingering
from paddock_operator.decide.rollout.deadline import starved_since
from paddock_operator.decide.rollout.types import CopyLook, Look
from paddock_operator.kinds import POD, REPLICA_SET
from paddock_operator.observed import Child
from paddock_operator.ports import Policy
from paddock_operator.times import format_time

from tests.operator.platforms import CONFIG, licensed
from tests.operator.test_lives_of_copies import LLAMA

LACK = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
CHANGED = {"engine": {"contextLength": 1024}}
DEADLINE = 600


@pytest.fixture(scope="module")
def policy() -> Policy:
    return licensed("llama3.2")


@pytest.fixture
def world(worlds: Any, pairs: Any, policy: Policy) -> Any:
    """One copy, which serves, on the only GPU."""
    rollout = {"strategy": "DrainFirst", "deadlineSeconds": DEADLINE}
    spec = {"model": {"id": LLAMA}, "replicas": 1, "rollout": rollout}
    made = worlds.World(config=CONFIG, policy=policy, spec=spec, inventory=pairs.one_each())
    made.rounds()
    return made


def the_pod(world: Any) -> dict[str, Any]:
    (copy,) = world.names(REPLICA_SET)
    (pod,) = world.pods(copy)
    made: dict[str, Any] = pod
    return made


def passes(world: Any, stuck: dict[str, Any], *, finalizers: tuple[str, ...] = ()) -> None:
    """A round, and ten seconds: this pod stays once its workload is gone, and none of the others finds a node."""
    name = str(stuck["metadata"]["name"])
    own = [item for item in world.names(REPLICA_SET) if name.startswith(item)]
    world.round()
    if own and not set(own) & set(world.names(REPLICA_SET)):
        metadata = {**stuck["metadata"], "deletionTimestamp": format_time(world.now), "finalizers": [*finalizers]}
        world.objects[POD, name] = {**stuck, "metadata": metadata}
    world.pods_come(but=own)
    for (kind, other), pod in list(world.objects.items()):
        if kind == POD and other != name and "nodeName" in pod["spec"]:
            condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": LACK}
            since = {**condition, "lastTransitionTime": format_time(world.now)}
            spec = {key: value for key, value in pod["spec"].items() if key != "nodeName"}
            world.objects[kind, other] = {
                **pod, "spec": spec, "status": {"phase": "Pending", "conditions": [since]},
            }  # fmt: skip
    world.now += 10.0


def condition(world: Any, kind: str) -> Any:
    return next(item for item in world.parsed().conditions if item.type == kind)


def test_a_change_that_waits_for_its_gpu_is_given_up_in_time(world: Any) -> None:
    stuck, began = the_pod(world), world.now
    (first,) = (item.name for item in world.parsed().revisions if item.state == "Current")
    world.spec = {**world.spec, **CHANGED}
    for _ in range(6):
        passes(world, stuck)
    while "Failed" not in {item.state for item in world.parsed().revisions}:
        assert world.now - began < DEADLINE + 200, "it waits for what will never be free"
        passes(world, stuck)
    assert world.now - began >= DEADLINE
    for _ in range(6):
        passes(world, stuck)
    (copy,) = world.names(REPLICA_SET)
    assert first in copy


def test_it_is_named_with_its_node_instead_of_a_lack_of_nodes(world: Any) -> None:
    stuck = the_pod(world)
    world.spec = {**world.spec, **CHANGED}
    for _ in range(12):
        passes(world, stuck)
    for kind in ("Scheduled", "Serving"):
        told = condition(world, kind)
        assert told.reason == "PodsStuck"
        assert f"{stuck['metadata']['name']} on n should have ended at" in told.message
        assert LACK.rstrip(".") in told.message
        assert "add nodes" not in told.message
    progressing = condition(world, "Progressing")
    assert (progressing.status, progressing.reason) == ("False", "PodsStuck")


def test_a_pod_within_its_grace_is_waited_for(world: Any) -> None:
    stuck = the_pod(world)
    world.spec = {**world.spec, **CHANGED}
    for _ in range(10):
        passes(world, stuck)
        deleted = world.objects[POD, stuck["metadata"]["name"]]["metadata"].get("deletionTimestamp")
        late = deleted is not None and lingering.is_late(
            Child(kind=POD, manifest=world.objects[POD, stuck["metadata"]["name"]]), world.now - 10.0
        )
        assert (condition(world, "Serving").reason == "PodsStuck") == late


def test_beside_copies_that_serve_it_is_told_and_nothing_is_amiss(world: Any) -> None:
    stuck = the_pod(world)
    metadata = {**stuck["metadata"], "name": "left", "deletionTimestamp": format_time(world.now - 60.0)}
    world.objects[POD, "left"] = {**stuck, "metadata": metadata}
    world.round()
    serving = condition(world, "Serving")
    assert (serving.status, serving.reason) == ("True", "Serving")
    assert "paddock-serving-acme/left on n should have ended at" in serving.message
    # One that is over holds nothing.
    world.objects[POD, "left"] = {**world.objects[POD, "left"], "status": {"phase": "Failed"}}
    world.round()
    assert "left on n" not in condition(world, "Serving").message


@pytest.mark.parametrize("finalizers", [(), ("example.com/mine",)])
def test_a_deletion_names_what_it_waits_for(world: Any, finalizers: tuple[str, ...]) -> None:
    stuck = the_pod(world)
    world.metadata = {**world.metadata, "deletionTimestamp": format_time(world.now)}
    for _ in range(3):
        passes(world, stuck, finalizers=finalizers)
    assert condition(world, "Serving").reason != "PodsStuck"
    for _ in range(5):
        passes(world, stuck, finalizers=finalizers)
    told = condition(world, "Serving")
    assert told.reason == "PodsStuck"
    assert f"{stuck['metadata']['name']} on n should have ended at" in told.message
    assert ("the finalizers example.com/mine hold it" in told.message) == bool(finalizers)
    assert ("it has no finalizers" in told.message) != bool(finalizers)
    assert world.metadata["finalizers"]
    del world.objects[POD, stuck["metadata"]["name"]]
    for _ in range(3):
        world.round()
    assert not world.objects


def child(kind: Any, *, late: bool | None) -> Child:
    """Deleted long ago, just now or not at all."""
    at = {} if late is None else {"deletionTimestamp": format_time(1000.0 if late else 2000.0)}
    return Child(kind=kind, manifest={"metadata": {"name": "x", "namespace": "s", "uid": kind.name, **at}})


@pytest.mark.parametrize(
    ("workload", "pods", "leaving", "stuck"),
    [
        (None, [], [True], True),
        (None, [], [True, False], False),
        (None, [None], [True], False),
        (True, [], [False], False),
        (True, [], [True], True),
        (True, [], [], True),
        (False, [], [], False),
    ],
    ids=["pod alone", "one in its grace", "one that stays", "in its grace", "late", "held itself", "just deleted"],
)
def test_a_copy_is_stuck_where_all_of_it_is_late(
    workload: bool | None, pods: list[bool | None], leaving: list[bool], *, stuck: bool
) -> None:
    copy = copies.Copy(
        name="c-0",
        revision="a",
        index=0,
        workload=None if workload is None else child(REPLICA_SET, late=workload),
        pods=tuple(child(POD, late=late) for late in pods),
        leaving=tuple(child(POD, late=late) for late in leaving),
    )
    assert copy.stuck(2010.0) is stuck


def test_a_copy_that_stays_is_not_stuck_for_a_pod_of_before() -> None:
    alive = child(REPLICA_SET, late=None)
    copy = copies.Copy(name="c-0", revision="a", index=0, workload=alive, pods=(), leaving=(child(POD, late=True),))
    assert not copy.stuck(2010.0)


@pytest.mark.parametrize(("stuck", "since"), [(False, None), (True, 5000.0)])
def test_the_time_of_a_copy_runs_where_nothing_is_about_to_be_free(*, stuck: bool, since: float | None) -> None:
    waits = CopyLook(name="b-0", revision="b", index=0, born_at=0.0, starved=True)
    goes = CopyLook(name="a-0", revision="a", index=0, born_at=0.0, going=True, stuck=stuck)
    look = Look(now=5000.0, wanted=1, spec=RolloutSpec(), target="b", current="a", copies=(goes, waits))
    assert starved_since(look, goal="b", former="a") == since


def test_only_some_are_named() -> None:
    text = lingering.told([child(POD, late=True)] * 5)
    assert text.count("should have ended") == lingering.MOST_NAMED
    assert text.endswith("and 2 more")
    assert lingering.told([]) == ""
