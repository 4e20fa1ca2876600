"""Healing over whole rounds: what is decided for failing copies, lost nodes and broken GPUs, and what is told."""

from dataclasses import replace
from typing import Any

import pytest
from paddock_core.resources import names
from paddock_operator.decide.healing import HealingRules
from paddock_operator.decide.node_faults import NodeFaults
from paddock_operator.kinds import LEADER_WORKER_SET, POD, REPLICA_SET
from paddock_operator.ports import Policy
from paddock_operator.times import format_time

from tests.operator import platforms
from tests.operator.platforms import licensed

CONFIG = replace(platforms.CONFIG, healing=HealingRules(budget=3))
CRASH = {"exitCode": 1, "reason": "Error", "message": "no such file: /weights/x", "finishedAt": "2027-01-15T08:00:09Z"}


@pytest.fixture(scope="module")
def policy() -> Policy:
    return licensed("llama3.2")


@pytest.fixture
def world(worlds: Any, policy: Policy) -> Any:
    """Two copies of one pod each, that answer."""
    made = worlds.World(config=CONFIG, policy=policy, spec={"model": {"id": "smollm2-135m-instruct"}, "replicas": 2})
    made.rounds()
    return made


@pytest.fixture
def group(worlds: Any, policy: Policy, pairs: Any) -> Any:
    """Two copies of two pods each, that answer."""
    spec = {
        "model": {"id": "llama-3.2-1b-instruct"},
        "engine": {"type": "LLMAPI"},
        "parallelism": {"tensor": 1, "pipeline": 2},
        "replicas": 2,
    }
    made = worlds.World(
        config=CONFIG, policy=policy, spec=spec, inventory=pairs.one_each(), apis=frozenset({LEADER_WORKER_SET})
    )
    made.rounds()
    return made


def crash(world: Any, copy: str, *, worker: int = 0) -> None:
    """A container of a copy ends once more, and is started again."""
    pod = world.pods(copy)[worker]
    before = pod["status"].get("containerStatuses") or [{"restartCount": 0}]
    status = {
        "name": "triton",
        "ready": False,
        "restartCount": before[0]["restartCount"] + 1,
        "state": {"running": {"startedAt": format_time(world.now)}},
        "lastState": {"terminated": CRASH},
    }
    ready = [{"type": "Ready", "status": "False"}]
    change(world, pod, status={**pod["status"], "containerStatuses": [status], "conditions": ready})


def change(world: Any, pod: dict[str, Any], **fields: Any) -> None:
    world.objects[POD, pod["metadata"]["name"]] = {**pod, **fields}


def condition(world: Any, kind: str) -> Any:
    return next((item for item in world.parsed().conditions if item.type == kind), None)


def records(world: Any) -> dict[str, Any]:
    return {item.name: item for item in world.parsed().copies}


def fail_for_good(world: Any, copy: str) -> int:
    """Let a copy fail whenever it is there, far beyond its longest pause. How often it was made anew."""
    made = 0
    for _ in range(40):
        if world.pods(copy):
            crash(world, copy)
        before = world.names()
        world.round()
        world.now += 5.0
        made += copy not in before and copy in world.names()
        world.pods_come(ready=False)
    return made


def test_a_copy_that_keeps_failing_is_given_up_and_the_other_goes_on(world: Any) -> None:
    bad, good = world.names(REPLICA_SET)
    assert fail_for_good(world, bad) == 1, "the kubelet started it again the first time, nobody after the third"
    assert world.names(REPLICA_SET) == [good]
    record = records(world)[bad]
    assert (record.failures, record.retry_at) == (3, "")
    assert record.evidence.message.endswith("no such file: /weights/x")
    degraded, serving = condition(world, "Degraded"), condition(world, "Serving")
    assert (serving.status, degraded.status, degraded.reason) == ("True", "True", "GroupFailed")
    assert "no such file: /weights/x" in degraded.message
    assert "paddock.dev/retry" in degraded.message
    assert condition(world, "Progressing").reason == "GroupFailed"


def test_a_new_wish_or_a_persons_word_brings_it_back(world: Any) -> None:
    bad, _good = world.names(REPLICA_SET)
    fail_for_good(world, bad)
    asked = world.copy()
    asked.metadata = {**asked.metadata, "annotations": {names.RETRY: "1"}}
    asked.rounds()
    assert bad in asked.names(REPLICA_SET)
    assert asked.parsed().ready_replicas == 2
    assert condition(asked, "Degraded") is None
    world.spec = {**world.spec, "engine": {"maxConcurrency": 3}}
    world.rounds(200)
    assert world.parsed().ready_replicas == 2
    assert bad not in records(world)


def test_nobody_takes_its_place_while_it_pauses(world: Any) -> None:
    bad, good = world.names(REPLICA_SET)
    for _ in range(2):
        crash(world, bad)
        world.round()
        world.now += 1.0
    assert world.names(REPLICA_SET) == [good]
    assert (condition(world, "Degraded").status, condition(world, "Degraded").reason) == ("True", "RestartDelayed")
    for _ in range(8):
        world.round()
        world.now += 1.0
        assert world.names(REPLICA_SET) == [good]
    world.now += 5.0
    world.round()
    assert world.names(REPLICA_SET) == sorted([bad, good])


def test_after_its_pause_it_comes_back_by_its_name_though_an_earlier_one_is_free(world: Any) -> None:
    first, second = world.names(REPLICA_SET)
    world.spec = {**world.spec, "replicas": 3}
    world.rounds()
    third = next(name for name in world.names(REPLICA_SET) if name not in (first, second))
    for workload in (first, second):
        world.objects.pop((REPLICA_SET, workload))
        for pod in world.pods(workload):
            world.objects.pop((POD, pod["metadata"]["name"]))
    world.spec = {**world.spec, "replicas": 1}
    for _ in range(2):
        crash(world, third)
        world.round()
        world.now += 1.0
    assert world.names(REPLICA_SET) == []
    world.now += 10.0
    world.round()
    assert world.names(REPLICA_SET) == [third]
    assert records(world)[third].failures == 2


def test_an_only_copy_in_its_pause_is_what_serving_tells(world: Any) -> None:
    world.spec = {**world.spec, "replicas": 1}
    world.rounds()
    (only,) = world.names(REPLICA_SET)
    for _ in range(2):
        crash(world, only)
        world.round()
        world.now += 1.0
    serving = condition(world, "Serving")
    assert (serving.status, serving.reason) == ("False", "RestartDelayed")
    assert "has failed 2 times in a row and is tried again at" in serving.message
    assert condition(world, "Scheduled") is None
    assert [len(target.endpoints) for target in world.parsed().routing.targets] == [0]


def test_a_failed_copy_that_is_not_wanted_any_more_is_forgotten(world: Any) -> None:
    bad, good = world.names(REPLICA_SET)
    fail_for_good(world, bad)
    world.spec = {**world.spec, "replicas": 1}
    world.rounds()
    assert world.names(REPLICA_SET) == [good]
    assert bad not in records(world)
    assert condition(world, "Degraded") is None


def test_a_copy_on_a_lost_node_moves_alone_and_its_pod_is_forced(world: Any) -> None:
    moved, stays = world.names(REPLICA_SET)
    (pod,) = world.pods(moved)
    change(world, pod, spec={**pod["spec"], "nodeName": "lost-1"})
    kept = world.objects[REPLICA_SET, stays]["metadata"]["uid"]
    faults = NodeFaults(lost={"lost-1": "node lost-1 has not answered for 61 s"})
    outcome = world.round(faults=faults)
    assert [action.name for action in outcome.actions if getattr(action, "forced", False)] == [pod["metadata"]["name"]]
    degraded = condition(world, "Degraded")
    assert (degraded.reason, degraded.status) == ("NodeLost", "True")
    world.rounds()
    assert world.objects[REPLICA_SET, stays]["metadata"]["uid"] == kept
    assert world.parsed().ready_replicas == 2
    assert all(record.failures == 0 for record in records(world).values())


BROKEN = NodeFaults(broken={"sick-1": "node sick-1 says XidCriticalError=True"})


def place(world: Any, copy: str, node: str) -> str:
    """Put the pod of a copy on a node; its name."""
    (pod,) = world.pods(copy)
    change(world, pod, spec={**pod["spec"], "nodeName": node})
    return str(pod["metadata"]["name"])


def told(world: Any) -> set[str]:
    return {item.pod for target in world.parsed().routing.targets for item in target.endpoints}


@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize("crashes", [0, 1], ids=["sound", "has failed before"])
def test_a_copy_on_a_broken_gpu_answers_until_another_does_and_is_drained_then(
    world: Any, replicas: int, crashes: int
) -> None:
    world.spec = {**world.spec, "replicas": replicas}
    world.rounds()
    leaves, *rest = world.names(REPLICA_SET)
    for _ in range(crashes):
        crash(world, leaves)
        world.round()
        (pod,) = world.pods(leaves)
        mended = [{**item, "ready": True} for item in pod["status"]["containerStatuses"]]
        ready = [{"type": "Ready", "status": "True"}]
        change(world, pod, status={**pod["status"], "conditions": ready, "containerStatuses": mended})
        world.round()
    pod = place(world, leaves, "sick-1")
    world.seen["faults"] = BROKEN
    for _ in range(20):
        world.round()
        world.now += 5.0
        assert (world.parsed().ready_replicas, pod in told(world)) == (replicas, True)
    assert condition(world, "Degraded").reason == "GpuLost"
    assert len(world.names(REPLICA_SET)) == replicas + 1, "another is made meanwhile"
    world.pods_come()
    world.round()
    assert leaves in world.names(REPLICA_SET), "what it answers still is not cut off"
    assert pod not in told(world)
    assert world.parsed().ready_replicas == replicas
    for _ in range(400):
        world.round()
        world.pods_come()
        world.now += 5.0
        assert world.parsed().ready_replicas == replicas
    (made,) = (name for name in world.names(REPLICA_SET) if name not in rest)
    template = world.objects[REPLICA_SET, made]["spec"]["template"]["spec"]
    terms = template["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    kept_off = [field for term in terms for field in term.get("matchFields", ())]
    assert {"key": "metadata.name", "operator": "NotIn", "values": ["sick-1"]} in kept_off
    assert condition(world, "Degraded") is None


def test_a_copy_on_a_broken_gpu_waits_for_another_only_so_long(world: Any) -> None:
    leaves, _stays = world.names(REPLICA_SET)
    pod = place(world, leaves, "sick-1")
    world.seen["faults"] = BROKEN
    world.round()
    world.now += CONFIG.healing.moving_seconds - 1
    world.round()
    assert pod in told(world)
    world.now += 2
    world.round()
    assert pod not in told(world)


def test_copies_beyond_what_is_wanted_leave_a_broken_gpu_first(world: Any) -> None:
    """Where the rest is enough, nothing is waited for."""
    leaves, stays = world.names(REPLICA_SET)
    place(world, leaves, "sick-1")
    world.seen["faults"] = BROKEN
    world.spec = {**world.spec, "replicas": 1}
    world.round()
    assert told(world) == {f"{stays}-x"}


def test_on_a_node_with_fewer_gpus_new_copies_come_last(world: Any) -> None:
    world.seen["faults"] = NodeFaults(short={"short-1": 7})
    world.spec = {**world.spec, "replicas": 3}
    before = world.names(REPLICA_SET)
    world.round()
    (made,) = set(world.names(REPLICA_SET)) - set(before)
    nodes = world.objects[REPLICA_SET, made]["spec"]["template"]["spec"]["affinity"]["nodeAffinity"]
    required = (nodes.get("requiredDuringSchedulingIgnoredDuringExecution") or {}).get("nodeSelectorTerms") or ()
    assert not any(term.get("matchFields") for term in required), "it may be the only node"
    (liked,) = nodes["preferredDuringSchedulingIgnoredDuringExecution"]
    fields = [{"key": "metadata.name", "operator": "NotIn", "values": ["short-1"]}]
    assert liked == {"weight": 100, "preference": {"matchFields": fields}}
    world.rounds()
    world.seen.pop("faults")
    world.written.clear()
    world.rounds()
    assert world.written == [], "it stays as it was made"


def test_why_a_copy_left_its_node_is_told_until_another_answers(world: Any) -> None:
    world.spec = {**world.spec, "replicas": 1}
    world.rounds()
    (lost,) = world.names(REPLICA_SET)
    place(world, lost, "lost-1")
    world.seen["faults"] = NodeFaults(lost={"lost-1": "node lost-1 has not answered for 61 s"})
    for _ in range(30):
        world.round()
        world.now += 5.0
        serving = condition(world, "Serving")
        assert (serving.status, serving.reason) == ("False", "NodeLost")
        assert "lost-1 has not answered" in serving.message
    world.rounds()
    assert condition(world, "Serving").status == "True"
    assert lost not in records(world)


def test_a_node_that_was_lost_is_not_told_of_for_ever(world: Any) -> None:
    world.spec = {**world.spec, "replicas": 1}
    world.rounds()
    (lost,) = world.names(REPLICA_SET)
    place(world, lost, "lost-1")
    world.seen["faults"] = NodeFaults(lost={"lost-1": "node lost-1 has not answered for 61 s"})
    world.round()
    world.round()
    assert lost in records(world)
    world.now += CONFIG.healing.moving_seconds
    world.round()
    assert lost not in records(world)


def test_a_group_of_two_generations_gets_no_request_and_is_made_anew_as_one(group: Any) -> None:
    broken, whole = group.names(LEADER_WORKER_SET)
    kept = {pod["metadata"]["uid"] for pod in group.pods(whole)}
    leader, worker = group.pods(broken)
    metadata = {**worker["metadata"], "uid": "another", "creationTimestamp": format_time(group.now)}
    change(group, worker, metadata=metadata)
    group.round()
    endpoints = [item.pod for target in group.parsed().routing.targets for item in target.endpoints]
    assert endpoints == [f"{whole}-0"]
    assert condition(group, "Degraded").reason == "RanksLost"
    assert broken in group.names(LEADER_WORKER_SET), "its controller is given time"
    group.now += CONFIG.healing.recreate_seconds
    group.round()
    assert not group.pods(broken)
    group.rounds()
    assert {pod["metadata"]["uid"] for pod in group.pods(whole)} == kept
    (made,) = (name for name in group.names(LEADER_WORKER_SET) if name != whole)
    fresh = {pod["metadata"]["uid"] for pod in group.pods(made)}
    assert len(fresh) == 2
    assert not fresh & {leader["metadata"]["uid"], "another"}
    assert group.parsed().ready_replicas == 2


def test_a_group_that_finds_a_part_of_its_gpus_gives_them_back(group: Any) -> None:
    partly, _whole = group.names(LEADER_WORKER_SET)
    leader, worker = group.pods(partly)
    said = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
        "lastTransitionTime": format_time(group.now),
    }
    change(group, leader, status={"conditions": [{"type": "Ready", "status": "False"}]})
    change(group, worker, spec={}, status={"conditions": [said]})
    group.round()
    assert partly in group.names(LEADER_WORKER_SET)
    group.now += CONFIG.healing.partial_seconds
    group.round()
    assert partly not in group.names(LEADER_WORKER_SET)
    degraded = condition(group, "Degraded")
    assert degraded.reason == "InsufficientGPU"
    assert "only 1 of 2 pods found a node" in degraded.message
    group.now += 2 * CONFIG.healing.longest_pause_seconds
    group.rounds()
    assert group.parsed().ready_replicas == 2


def test_failures_outlive_the_operator_and_its_pods(world: Any) -> None:
    """The status is all that there is: another operator, with nothing in its memory, goes on counting."""
    bad, _good = world.names(REPLICA_SET)
    crash(world, bad)
    world.round()
    other = world.copy()
    other.config = replace(CONFIG, version="9.0.0")
    for pod in other.pods(bad):
        other.objects.pop((POD, pod["metadata"]["name"]))
    other.pods_come(ready=False)
    crash(other, bad)
    other.round()
    assert records(other)[bad].failures == 2
