"""Deployments whose copies are groups of pods: what is applied, replaced and removed, and in which order."""

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.policy.view import PolicyView
from paddock_core.policy.wire import Change
from paddock_core.resources import names
from paddock_operator.decide.actions import Apply, Delete
from paddock_operator.decide.desired import decide
from paddock_operator.decide.outcome import Outcome
from paddock_operator.kinds import DEPLOYMENT, LEADER_WORKER_SET, LOCAL_QUEUES, NETWORK_POLICY, POD, POD_GROUP, Kind
from paddock_operator.observed import Child, Observed, WeightsJob, parse
from paddock_operator.ports import Key, Policy

NOW = 1_800_000_000.0
MODEL = "llama-3.2-1b-instruct"
RESULT = msgspec.json.encode({"tokenizer": "sha256:" + "7" * 64, "weights": "b1" * 32, "bytes": 9}).decode()
SERVING = "paddock-serving-acme"
DONE = WeightsJob(
    job={"metadata": {"name": "w", "namespace": "paddock-weights", "uid": "j", "annotations": {names.RESULT: RESULT}}}
)
GROUPS = frozenset({LEADER_WORKER_SET})


@pytest.fixture(scope="module")
def policy(helpers: Any) -> Policy:
    objects = [
        *helpers.registered(),
        *helpers.texts("llama3.2"),
        *helpers.accepted("platform", role="operator", license_id="llama3.2"),
        *helpers.accepted("acme-inc", license_id="llama3.2"),
    ]
    changes = [
        Change(revision=number, kind=helpers.KINDS[type(item)], id=item.id, body=msgspec.to_builtins(item))
        for number, item in enumerate(objects, start=1)
    ]
    return Policy(view=PolicyView.empty().apply(changes), expired=False, at=NOW)


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


def as_child(kind: Kind, manifest: dict[str, Any], **more: Any) -> Child:
    name = manifest["metadata"]["name"]
    return Child(kind=kind, manifest={**manifest, "metadata": {**manifest["metadata"], "uid": f"uid-{name}", **more}})


def pods_of(manifest: dict[str, Any], *, ready: bool = True, outdated: bool = False) -> list[Child]:
    """The leader and the worker of a group, as its controller makes them."""
    found = []
    templates = manifest["spec"]["leaderWorkerTemplate"]
    for index, template in enumerate((templates["leaderTemplate"], templates["workerTemplate"])):
        name = f"{manifest['metadata']['name']}-0" + (f"-{index}" if index else "")
        annotations = {names.RENDERING: "former"} if outdated else template["metadata"]["annotations"]
        metadata = {
            "name": name,
            "namespace": SERVING,
            "uid": f"uid-{name}",
            "labels": {**template["metadata"]["labels"], names.WORKER_INDEX: str(index)},
            "annotations": annotations,
        }
        status = {"conditions": [{"type": "Ready", "status": str(ready)}], "podIP": f"10.0.0.{index}"}
        found.append(Child(kind=POD, manifest={"metadata": metadata, "spec": {"nodeName": "n"}, "status": status}))
    return found


@pytest.fixture(scope="module")
def manifests(policy: Policy, pairs: Any) -> dict[str, dict[str, Any]]:
    """The two groups as they are rendered, by name."""
    made = applied(decide(look(policy, pairs), pairs.CONFIG))
    return {manifest["metadata"]["name"]: manifest for manifest in made}


@pytest.fixture(scope="module")
def running(manifests: dict[str, dict[str, Any]]) -> Any:
    """Two groups that run; those in `former` were rendered otherwise, those in `silent` generate nothing."""

    def children(*, former: Collection[int] = (), silent: Collection[int] = ()) -> dict[str, Any]:
        found: list[Child] = []
        probes: dict[str, str | None] = {}
        for index, manifest in enumerate(manifests.values()):
            old = index in former
            stamp = {"annotations": {names.RENDERING: "former"}} if old else {}
            found.append(as_child(LEADER_WORKER_SET, manifest, **stamp))
            own = pods_of(manifest, outdated=old)
            found += own
            probes[own[0].uid] = "hangs" if index in silent else None
        return {"children": tuple(found), "probes": probes}

    return children


def test_groups_are_created_after_all_that_protects_them(policy: Policy, pairs: Any) -> None:
    outcome = decide(look(policy, pairs), pairs.CONFIG)
    kinds = [action.manifest["kind"] for action in outcome.actions if isinstance(action, Apply)]
    assert kinds[-2:] == ["LeaderWorkerSet"] * 2
    assert "Deployment" not in kinds
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


def test_only_leaders_are_endpoints_and_count_as_copies(policy: Policy, pairs: Any, running: Any) -> None:
    outcome = decide(look(policy, pairs, **running(silent=(1,))), pairs.CONFIG)
    assert outcome.routing is not None
    assert [endpoint.pod[-4:] for endpoint in outcome.routing.endpoints] == ["-0-0"]
    assert (outcome.replicas, outcome.ready_replicas, outcome.groups) == (2, 1, 2)
    assert reasons(outcome)["Scheduled"] == "True/Scheduled"
    assert deleted(outcome) == []


def test_a_changed_group_goes_only_while_the_others_answer(policy: Policy, pairs: Any, running: Any) -> None:
    def gone(**state: Any) -> list[str]:
        return [name[-1] for name in deleted(decide(look(policy, pairs, **running(**state)), pairs.CONFIG))]

    assert gone(former=(0, 1)) == ["0"]
    assert gone(former=(1,)) == ["1"]
    assert gone(former=(1,), silent=(0,)) == [], "the only copy that answers stays until the new one does"
    assert gone(former=(0, 1), silent=(0,)) == ["0"], "one that answers nothing is no loss"
    assert gone(former=(0, 1), silent=(0, 1)) == ["1", "0"]


def test_a_group_comes_back_only_when_no_pod_of_the_former_one_is_left(
    policy: Policy, pairs: Any, manifests: Any, running: Any
) -> None:
    state = running()
    last = list(manifests)[1]
    without = [child for child in state["children"] if (child.kind, child.name) != (LEADER_WORKER_SET, last)]
    here = decide(look(policy, pairs, **{**state, "children": tuple(without)}), pairs.CONFIG)
    assert [item["metadata"]["name"] for item in applied(here)] == list(manifests)[:1]
    none_left = [child for child in without if child.manifest["metadata"]["labels"].get(names.GROUP) != last]
    gone = decide(look(policy, pairs, **{**state, "children": tuple(none_left)}), pairs.CONFIG)
    assert [item["metadata"]["name"] for item in applied(gone)] == list(manifests)


def test_surplus_groups_go_from_the_last_and_what_guards_them_after_their_pods(
    policy: Policy, pairs: Any, running: Any
) -> None:
    state = running()
    guards = [as_child(NETWORK_POLICY, item.manifest) for item in state["children"] if item.kind == LEADER_WORKER_SET]
    state["children"] = (*state["children"], *guards)
    assert [name[-1] for name in deleted(decide(look(policy, pairs, spec={"replicas": 0}, **state), pairs.CONFIG))] == [
        "1",
        "0",
    ]
    state["children"] = tuple(child for child in state["children"] if child.kind == NETWORK_POLICY)
    left = deleted(decide(look(policy, pairs, spec={"replicas": 0}, **state), pairs.CONFIG))
    assert [name.split("/")[0] for name in left] == ["networkpolicies"] * 2


@pytest.mark.parametrize(("limits", "waits"), [({"memory": "1Gi"}, True), ({"nvidia.com/gpu": "1"}, False)])
def test_the_former_kind_goes_at_once_if_it_holds_gpus_else_when_the_new_one_answers(
    policy: Policy, pairs: Any, running: Any, limits: dict[str, str], waits: bool
) -> None:
    template = {"spec": {"containers": [{"resources": {"limits": limits}}]}}
    own = {"name": names.serving_name(namespace="acme", name="chat"), "namespace": SERVING}
    labels = {names.DEPLOYMENT_NAMESPACE: "acme", names.DEPLOYMENT_NAME: "chat", names.DEPLOYMENT_UID: "u1"}
    former = Child(
        kind=DEPLOYMENT, manifest={"metadata": {**own, "uid": "d", "labels": labels}, "spec": {"template": template}}
    )
    pod = Child(
        kind=POD,
        manifest={
            "metadata": {**own, "uid": "p", "labels": labels, "annotations": {names.RENDERING: "former"}},
            "spec": {"nodeName": "n"},
            "status": {"conditions": [{"type": "Ready", "status": "True"}], "podIP": "10.0.0.7"},
        },
    )
    routing = {
        "model": MODEL,
        "tokenizer": "sha256:x",
        "contextLength": 10,
        "maxConcurrency": 1,
        "rendering": "former",
        "endpoints": [],
    }
    seen = look(policy, pairs, children=(former, pod), probes={"p": None}, status={"routing": routing})
    assert (deleted(decide(seen, pairs.CONFIG)) == []) is waits
    state = running()
    both = replace(seen, children=(*state["children"], former, pod), probes={"p": None, **state["probes"]})
    assert deleted(decide(both, pairs.CONFIG)) == [f"deployments/{own['name']}"]


def test_teardown_takes_groups_first_and_the_rest_when_no_pod_is_left(policy: Policy, pairs: Any, running: Any) -> None:
    state = running()
    seen = replace(look(policy, pairs, **state), deployment=None)
    assert {name.split("/")[0] for name in deleted(decide(seen, pairs.CONFIG))} == {"leaderworkersets"}


@settings(max_examples=60, deadline=None)
@given(former=st.sets(st.integers(0, 1)), silent=st.sets(st.integers(0, 1)), replicas=st.integers(0, 3))
def test_no_round_takes_more_answering_copies_than_one(
    policy: Policy, pairs: Any, running: Any, former: set[int], silent: set[int], replicas: int
) -> None:
    state = running(former=former, silent=silent)
    outcome = decide(look(policy, pairs, spec={"replicas": replicas}, **state), pairs.CONFIG)
    answering = {index for index in range(min(replicas, 2)) if index not in silent}
    taken = {int(name[-1]) for name in deleted(outcome)} & answering
    assert len(taken) <= 1
    assert not taken or len(answering) == replicas or replicas <= 1
