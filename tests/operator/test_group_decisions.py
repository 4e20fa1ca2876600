"""Deployments whose copies are groups of pods: what is applied, replaced and removed, and in which order."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.resources import names
from paddock_operator.decide.actions import Apply, Delete
from paddock_operator.decide.desired import decide
from paddock_operator.decide.outcome import Outcome
from paddock_operator.kinds import (
    LEADER_WORKER_SET,
    LOCAL_QUEUES,
    NETWORK_POLICY,
    POD_GROUP,
    REPLICA_SET,
    RESOURCE_CLAIM_TEMPLATE,
    Kind,
)
from paddock_operator.observed import Observed, WeightsJob, parse
from paddock_operator.ports import Key, Policy

from tests.operator.platforms import licensed

NOW = 1_800_000_000.0
MODEL = "llama-3.2-1b-instruct"
RESULT = msgspec.json.encode({"tokenizer": "sha256:" + "7" * 64, "weights": "b1" * 32, "bytes": 9}).decode()
SERVING = "paddock-serving-acme"
DONE = WeightsJob(
    job={"metadata": {"name": "w", "namespace": "paddock-weights", "uid": "j", "annotations": {names.RESULT: RESULT}}}
)
GROUPS = frozenset({LEADER_WORKER_SET})


@pytest.fixture(scope="module")
def policy() -> Policy:
    return licensed("llama3.2")


def look(policy: Policy, pairs: Any, **changes: Any) -> Observed:
    """A look at a deployment of two copies, each over two nodes."""
    spec = {
        "model": {"id": MODEL},
        "parallelism": {"tensor": 1, "pipeline": 2},
        "replicas": 2,
        **changes.pop("spec", {}),
    }
    metadata = {
        "namespace": "acme",
        "name": "chat",
        "uid": "u1",
        "generation": 1,
        "resourceVersion": "5",
        "finalizers": ["paddock.dev/serving-resources"],
    }
    document = {"metadata": metadata, "spec": spec, "status": changes.pop("status", {})}
    deployment, problem = parse(document)
    assert problem is None, problem
    values: dict[str, Any] = {"apis": GROUPS, "inventory": pairs.one_each(), "weights": DONE}
    return Observed(
        key=Key("acme", "chat"),
        now=NOW,
        catalog=packaged_catalog(),
        policy=policy,
        deployment=deployment,
        **{**values, **changes},
    )


def applied(outcome: Outcome, kind: Kind = LEADER_WORKER_SET) -> list[dict[str, Any]]:
    manifests = [action.manifest for action in outcome.actions if isinstance(action, Apply)]
    return [manifest for manifest in manifests if manifest["kind"] == kind.name]


def deleted(outcome: Outcome) -> list[str]:
    return [f"{action.kind.plural}/{action.name}" for action in outcome.actions if isinstance(action, Delete)]


def reasons(outcome: Outcome) -> dict[str, str]:
    return {finding.type.value: f"{finding.status}/{finding.reason}" for finding in outcome.findings}


@pytest.fixture
def world(worlds: Any, policy: Policy, pairs: Any) -> Any:
    """A deployment of two copies, each over two nodes, before anything was made of it."""
    spec = {"model": {"id": MODEL}, "parallelism": {"tensor": 1, "pipeline": 2}, "replicas": 2}
    return worlds.World(
        config=pairs.CONFIG, policy=policy, spec=spec, apis=GROUPS, inventory=pairs.one_each(), weights=DONE
    )


def test_groups_are_created_after_all_that_protects_them(policy: Policy, pairs: Any) -> None:
    outcome = decide(look(policy, pairs), pairs.CONFIG)
    kinds = [action.manifest["kind"] for action in outcome.actions if isinstance(action, Apply)]
    assert kinds[-4:] == ["NetworkPolicy", "LeaderWorkerSet"] * 2
    assert "ReplicaSet" not in kinds
    assert reasons(outcome)["Scheduled"] == "False/PodsPending"
    assert outcome.plan is not None
    assert (outcome.plan.pods_per_group, outcome.groups) == (2, 0)


@pytest.mark.parametrize(
    ("apis", "placement", "reason", "said"),
    [
        (frozenset(), {}, "LeaderWorkerSetMissing", "kubectl apply --server-side -f"),
        (GROUPS, {"deviceClass": "gpu"}, "DeviceClaimsMissing", "Kubernetes 1.34"),
        (GROUPS, {"queue": "gold"}, "QueueMissing", "no Kueue"),
        ({*GROUPS, *LOCAL_QUEUES}, {"queue": "gold", "schedulerName": "volcano"}, "QueueMissing", "no Volcano"),
        (GROUPS, {"network": "roce"}, "NetworkNotAllowed", "tcp, infiniband, efa"),
        (
            {*GROUPS, POD_GROUP},
            {"exclusiveTopology": True, "topologyKey": "rack", "schedulerName": "volcano"},
            "InvalidSpec",
            "leave exclusiveTopology or schedulerName unset",
        ),
    ],
)
def test_what_the_cluster_lacks_is_said_and_nothing_is_created(
    policy: Policy, pairs: Any, apis: Any, placement: Any, reason: str, said: str
) -> None:
    inventory = pairs.one_each(claimed="deviceClass" in placement)
    seen = look(policy, pairs, apis=frozenset(apis), spec={"placement": placement}, inventory=inventory)
    outcome = decide(seen, pairs.CONFIG)
    assert reasons(outcome)["Planned"] == f"False/{reason}"
    assert said in next(finding.message for finding in outcome.findings if finding.reason == reason)
    assert (outcome.actions, outcome.plan is None, outcome.look_after_seconds) == ((), False, 30.0)


@pytest.mark.parametrize(("apis", "placement"), [(LOCAL_QUEUES, {}), ((POD_GROUP,), {"schedulerName": "volcano"})])
def test_a_queue_that_the_cluster_has_is_rendered(policy: Policy, pairs: Any, apis: Any, placement: Any) -> None:
    seen = look(policy, pairs, apis=GROUPS | set(apis), spec={"placement": {"queue": "gold", **placement}})
    outcome = decide(seen, pairs.CONFIG)
    labels = applied(outcome)[0]["metadata"]["labels"]
    assert (labels.get("kueue.x-k8s.io/queue-name") == "gold") is (not placement)
    assert len(applied(outcome, POD_GROUP)) == (2 if placement else 0)


def test_only_leaders_are_endpoints_and_count_as_copies(world: Any) -> None:
    world.rounds()
    world.answer(world.names(LEADER_WORKER_SET)[1], "hangs")
    outcome = world.round()
    (target,) = outcome.routing.targets
    assert [endpoint.pod for endpoint in target.endpoints] == [f"{world.names(LEADER_WORKER_SET)[0]}-0"]
    assert (outcome.replicas, outcome.ready_replicas, outcome.groups, outcome.ready_groups) == (2, 1, 2, 1)
    assert reasons(outcome)["Scheduled"] == "True/Scheduled"
    assert deleted(outcome) == []


def test_every_copy_has_its_own_guard_that_goes_after_its_pods(world: Any) -> None:
    world.rounds()
    groups = world.names(LEADER_WORKER_SET)
    guards = [name for name in world.names(NETWORK_POLICY) if name in groups]
    assert guards == groups
    world.spec = {**world.spec, "replicas": 1}
    world.round()
    world.now += 5
    seen = world.observed()
    first = decide(seen, world.config)
    assert deleted(first) == [f"leaderworkersets/{groups[1]}"]
    without = tuple(item for item in seen.children if (item.kind, item.name) != (LEADER_WORKER_SET, groups[1]))
    assert deleted(decide(structs.replace(seen, children=without), world.config)) == [], "pods of it are still there"
    world.rounds()
    assert [name for name in world.names(NETWORK_POLICY) if name in groups] == groups[:1]


def test_a_copy_comes_back_only_when_no_pod_of_the_former_one_is_left(world: Any) -> None:
    world.rounds()
    last = world.names(LEADER_WORKER_SET)[1]
    seen = world.observed()
    without = [child for child in seen.children if (child.kind, child.name) != (LEADER_WORKER_SET, last)]
    here = decide(structs.replace(seen, children=tuple(without)), world.config)
    assert last not in [item["metadata"]["name"] for item in applied(here)]
    none_left = [child for child in without if child.manifest["metadata"]["labels"].get(names.GROUP) != last]
    gone = decide(structs.replace(seen, children=tuple(none_left)), world.config)
    assert last in [item["metadata"]["name"] for item in applied(gone)]


def test_one_node_copies_and_groups_replace_one_another(world: Any) -> None:
    world.rounds()
    groups = world.names(LEADER_WORKER_SET)
    world.spec = {**world.spec, "parallelism": {"tensor": 1, "pipeline": 1}}
    world.rounds()
    assert len(world.names(REPLICA_SET)) == 2
    assert world.names(LEADER_WORKER_SET) == []
    assert not set(groups) & set(world.names(NETWORK_POLICY))
    world.spec = {**world.spec, "parallelism": {"tensor": 1, "pipeline": 2}}
    world.rounds()
    assert (len(world.names(LEADER_WORKER_SET)), world.names(REPLICA_SET)) == (2, [])


def test_claims_go_when_no_copy_claims_any_more(world: Any, pairs: Any) -> None:
    world.seen |= {"apis": GROUPS | {RESOURCE_CLAIM_TEMPLATE}, "inventory": pairs.one_each(claimed=True)}
    world.spec = {**world.spec, "placement": {"deviceClass": "gpu.nvidia.com"}}
    world.rounds()
    assert len(world.names(RESOURCE_CLAIM_TEMPLATE)) == 1
    world.seen["inventory"] = pairs.one_each()
    world.spec = {**world.spec, "placement": {}}
    world.rounds()
    assert world.names(RESOURCE_CLAIM_TEMPLATE) == []
    assert world.parsed().ready_replicas == 2


def test_teardown_takes_groups_first_and_the_rest_when_no_pod_is_left(world: Any) -> None:
    world.rounds()
    seen = structs.replace(world.observed(), deployment=None)
    assert {name.split("/")[0] for name in deleted(decide(seen, world.config))} == {"leaderworkersets"}


@settings(max_examples=60, deadline=None)
@given(
    silent=st.sets(st.integers(0, 2)),
    replicas=st.integers(1, 3),
    change=st.sampled_from([{}, {"engine": {"contextLength": 1024}}, {"placement": {"topologyKey": "rack"}}]),
)
def test_no_round_takes_an_answering_copy_away_that_is_needed(
    worlds: Any, policy: Policy, pairs: Any, silent: set[int], replicas: int, change: dict[str, Any]
) -> None:
    spec = {"model": {"id": MODEL}, "parallelism": {"tensor": 1, "pipeline": 2}, "replicas": 3}
    world = worlds.World(
        config=pairs.CONFIG, policy=policy, spec=spec, apis=GROUPS, inventory=pairs.one_each(), weights=DONE
    )
    world.rounds()
    for number, name in enumerate(world.names(LEADER_WORKER_SET)):
        if number in silent:
            world.answer(name, "hangs")
    world.spec = {**spec, "replicas": replicas, **change}
    floor = min(replicas, 3 - len(silent))
    for _ in range(12):
        world.round()
        assert world.parsed().ready_replicas >= floor
        world.pods_come()
        world.now += 5
