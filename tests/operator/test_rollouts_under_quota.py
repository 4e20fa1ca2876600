"""Rollouts round by round, with the ledger of GPUs and copies that take time to load: nothing that serves is missed."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paddock_core.resources.llamadeployment import Status
from paddock_operator.decide.scaling_advice import Demand
from paddock_operator.kinds import POD
from paddock_operator.ports import Policy
from paddock_operator.times import format_time

from tests.operator.platforms import CONFIG, licensed
from tests.operator.test_lives_of_copies import LLAMA, with_quota

LOADS = 4
"""Rounds from a copy to its pod, which answers at once."""
CHANGED = {"engine": {"contextLength": 1024}}
STRATEGIES = ("RollingUpdate", "DrainFirst", "BlueGreen", "Canary")


@pytest.fixture(scope="module")
def policy() -> Policy:
    return licensed("llama3.2")


@pytest.fixture(scope="module")
def serving(worlds: Any, pairs: Any, policy: Policy) -> Callable[..., Any]:
    """Makes a world in which so many copies of one GPU each serve."""

    def made(*, replicas: int, gpus: int, rollout: dict[str, Any], **spec: Any) -> Any:
        world = worlds.World(
            config=CONFIG,
            policy=with_quota(policy, gpus),
            spec={"model": {"id": LLAMA}, "replicas": replicas, "rollout": rollout, **spec},
            inventory=pairs.one_each(),
        )
        world.rounds()
        return world

    return made


def rounds(world: Any, most: int = 400) -> Iterator[Status]:
    """The status of each round until no change is under way; a copy that comes takes a while to load."""
    made = dict.fromkeys(world.names(), -LOADS)
    for number in range(most):
        world.round()
        status = world.parsed()
        assert status.quota is not None
        assert status.quota.gpus <= status.quota.limit
        yield status
        if number and status.rollout is None:
            return
        for name in world.names():
            made.setdefault(name, number)
        world.pods_come(but=[name for name in made if number - made[name] < LOADS])
        world.now += 5.0
    raise AssertionError(f"no end in sight: {world.names()}")


class TestNothingIsMissed:
    @pytest.mark.parametrize(
        ("strategy", "replicas", "gpus"),
        [
            ("RollingUpdate", 1, 2),
            ("RollingUpdate", 3, 4),
            ("BlueGreen", 1, 2),
            ("BlueGreen", 2, 4),
            ("Canary", 1, 2),
            ("Canary", 2, 3),
            ("Canary", 4, 5),
        ],
    )
    def test_where_the_quota_has_just_the_room_for_its_strategy(
        self, serving: Any, strategy: str, replicas: int, gpus: int
    ) -> None:
        world = serving(replicas=replicas, gpus=gpus, rollout={"strategy": strategy})
        old = set(world.names())
        world.spec = {**world.spec, **CHANGED}
        for status in rounds(world):
            assert status.ready_replicas >= replicas
            assert status.rollout is None or status.rollout.strategy == strategy
        assert len(world.names()) == replicas
        assert not old & set(world.names())

    @pytest.mark.parametrize("strategy", STRATEGIES)
    def test_without_any_room_one_copy_goes_first_and_no_more(self, serving: Any, strategy: str) -> None:
        world = serving(replicas=3, gpus=3, rollout={"strategy": strategy})
        world.spec = {**world.spec, **CHANGED}
        found = [status.ready_replicas for status in rounds(world)]
        assert min(found) == 2

    def test_what_is_granted_for_a_load_that_is_not_there_is_room_too(self, serving: Any) -> None:
        scaling = {"minReplicas": 1, "maxReplicas": 2}
        world = serving(replicas=1, gpus=2, rollout={}, scaling=scaling)
        world.seen["demand"] = Demand(in_flight=1, held=0, idle_seconds=None, complete=True)
        world.spec = {**world.spec, **CHANGED}
        assert all(status.ready_replicas >= 1 for status in rounds(world))

    @given(data=st.data())
    @settings(max_examples=25, deadline=None)
    def test_whatever_the_strategy_and_the_quota(self, serving: Any, data: Any) -> None:
        replicas, strategy = data.draw(st.integers(1, 4)), data.draw(st.sampled_from(STRATEGIES))
        surge, missing = data.draw(st.integers(0, 2)), data.draw(st.integers(0, 1))
        gpus = replicas + data.draw(st.integers(0, 5))
        rollout = {"strategy": strategy, "maxSurge": surge, "maxUnavailable": missing}
        world = serving(replicas=replicas, gpus=gpus, rollout=rollout)
        world.spec = {**world.spec, **CHANGED}
        both = strategy == "BlueGreen" and gpus >= 2 * replicas
        room = both or (strategy != "DrainFirst" and min(surge, gpus - replicas) > 0)
        floor = replicas - missing if room else replicas - max(1, missing)
        for status in rounds(world):
            assert status.ready_replicas >= floor
        assert world.parsed().ready_replicas == replicas


LACKS = {
    "queue": ("SchedulingGated", "Scheduling is blocked due to non-empty scheduling gates"),
    "memory": ("Unschedulable", "0/8 nodes are available: 8 Insufficient memory."),
    "neighbours": ("Unschedulable", "0/8 nodes are available: 8 node(s) didn't match pod anti-affinity rules."),
    "devices": ("Unschedulable", "0/8 nodes are available: 8 Insufficient nvidia.com/gpu."),
}


@pytest.mark.parametrize("lack", list(LACKS))
def test_what_a_copy_lacks_is_freed_by_a_former_one_whatever_it_is(serving: Any, lack: str) -> None:
    """There is room for two pods, and both serve."""
    world = serving(replicas=2, gpus=8, rollout={"deadlineSeconds": 600})
    old = set(world.names())
    world.spec = {**world.spec, **CHANGED}
    reason, message = LACKS[lack]
    for _ in range(120):
        world.round()
        waiting = [name for name in world.names() if not any(pod["spec"].get("nodeName") for pod in world.pods(name))]
        room = 2 - (len(world.names()) - len(waiting))
        for name in waiting:
            for pod in world.pods(name):
                del world.objects[POD, pod["metadata"]["name"]]
            world.pods_come(but=[other for other in world.names() if other != name])
            if room > 0:
                room -= 1
                continue
            for pod in world.pods(name):
                condition = {"type": "PodScheduled", "status": "False", "reason": reason, "message": message}
                since = {**condition, "lastTransitionTime": format_time(world.now)}
                spec = {key: value for key, value in pod["spec"].items() if key != "nodeName"}
                waits = {**pod, "spec": spec, "status": {"phase": "Pending", "conditions": [since]}}
                world.objects[POD, pod["metadata"]["name"]] = waits
        world.now += 10.0
        assert world.parsed().ready_replicas >= 1
    assert not old & set(world.names())
    assert world.parsed().ready_replicas == 2
