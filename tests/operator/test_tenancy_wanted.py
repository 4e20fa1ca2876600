"""What namespaces should hold, by the policy; priorities; and the queue of those that name none."""

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.planning.gpus import hypothetical
from paddock_core.planning.types import Plan
from paddock_core.policy.documents import Namespace, Tenant
from paddock_core.policy.view import PolicyView
from paddock_core.resources import names
from paddock_core.resources.llamadeployment import PlacementSpec
from paddock_operator.admission import review
from paddock_operator.decide import needs
from paddock_operator.kinds import KUEUE_QUEUE, LEADER_WORKER_SET, LOCAL_QUEUES
from paddock_operator.manifests import placement
from paddock_operator.manifests.serving_space.resource_quota import quantity
from paddock_operator.ports import Policy
from paddock_operator.settings import OperatorSettings
from paddock_operator.tenancy.wanted import Rules, of_serving, of_tenants, resources, unwanted

VIEW = PolicyView(
    revision=1,
    tenants={"acme": Tenant(id="acme", entity="acme", gpus=16), "poor": Tenant(id="poor", entity="poor")},
    namespaces={
        "chat": Namespace(id="chat", tenant="acme"),
        "lost": Namespace(id="lost", tenant="nobody"),
        "poor": Namespace(id="poor", tenant="poor"),
    },
)
RULES = Rules(given_gpus=0, gpu_resource="nvidia.com/gpu", pods=50, cluster_queue="")


def serving(
    *, granted: dict[str, int] | None = None, apis: Any = frozenset(), classes: tuple[str, ...] = (), **rules: Any
) -> dict[str, Any]:
    """What acme's serving namespace gets, by kind."""
    found = of_serving(
        VIEW,
        [names.serving_namespace("acme"), "elsewhere", names.serving_namespace("unknown")],
        rules=replace(RULES, **rules),
        granted=granted or {},
        apis=apis,
        classes=classes,
    )
    assert {item["metadata"]["namespace"] for item in found} == {"paddock-serving-acme"}
    return {item["kind"]: item for item in found}


def test_only_namespaces_of_tenants_that_exist_get_rights() -> None:
    found = of_tenants(VIEW, ["chat", "lost", "kube-system", "poor"])
    assert [(item["metadata"]["namespace"], item["subjects"][0]["name"]) for item in found] == [
        ("chat", "paddock:acme"),
        ("poor", "paddock:poor"),
    ]
    assert {item["roleRef"]["name"] for item in found} == {"paddock-tenant"}


def test_rights_end_where_no_tenant_is() -> None:
    bindings = [{"metadata": {"namespace": name, "name": "b"}} for name in ("chat", "lost", "gone")]
    assert [item["metadata"]["namespace"] for item in unwanted(bindings, VIEW)] == ["lost", "gone"]


def test_the_backstop_is_twice_the_quota_or_what_was_granted_before_it_fell() -> None:
    def hard(**more: Any) -> str:
        return str(serving(**more)["ResourceQuota"]["spec"]["hard"]["requests.nvidia.com/gpu"])

    assert hard() == "32"
    assert hard(granted={"acme": 24}) == "48"
    assert hard(granted={"acme": 8, "poor": 99}) == "32"
    poor = of_serving(VIEW, [names.serving_namespace("poor")], rules=RULES, granted={}, apis=frozenset())
    assert poor[0]["spec"]["hard"]["requests.nvidia.com/gpu"] == "0"
    given_all = replace(RULES, given_gpus=4)
    poor = of_serving(VIEW, [names.serving_namespace("poor")], rules=given_all, granted={}, apis=frozenset())
    assert poor[0]["spec"]["hard"]["requests.nvidia.com/gpu"] == "8"


def test_claimed_devices_are_bounded_as_counted_ones_are() -> None:
    hard = serving(classes=("gpu.example.com", "mig"))["ResourceQuota"]["spec"]["hard"]
    assert hard["gpu.example.com.deviceclass.resource.k8s.io/devices"] == hard["requests.nvidia.com/gpu"] == "32"
    assert hard["mig.deviceclass.resource.k8s.io/devices"] == "32"


def test_parts_of_gpus_are_bounded_too_under_the_devices_own_domain() -> None:
    found = resources("gpu.example.com/whole")
    assert found[0] == "gpu.example.com/whole"
    assert "gpu.example.com/mig-3g.40gb" in found


@given(st.integers(0, 10**9))
def test_quantities_are_written_as_the_api_server_writes_them(count: int) -> None:
    text = quantity(count)
    scale = {"k": 10**3, "M": 10**6, "G": 10**9}
    digits = text.rstrip("kMG")
    assert int(digits) * scale.get(text[-1], 1) == count
    assert count == 0 or int(digits) % 1000 or text.endswith("G"), "the largest suffix that leaves a whole number"


@pytest.mark.parametrize(
    ("cluster_queue", "apis", "versions"),
    [
        ("", LOCAL_QUEUES, []),
        ("gpus", (), []),
        ("gpus", LOCAL_QUEUES[:1], ["v1beta1"]),
        ("gpus", LOCAL_QUEUES, ["v1beta2"]),
    ],
)
def test_a_queue_is_made_where_kueue_is_and_the_platform_names_one(
    cluster_queue: str, apis: Any, versions: list[str]
) -> None:
    found = serving(cluster_queue=cluster_queue, apis=frozenset(apis))
    queues = [item for kind, item in found.items() if kind == "LocalQueue"]
    assert [item["apiVersion"].rpartition("/")[2] for item in queues] == versions
    assert all(item["spec"] == {"clusterQueue": "gpus"} for item in queues)


@pytest.mark.parametrize(
    ("placed", "queue"),
    [
        ({}, names.QUEUE),
        ({"queue": "gold"}, "gold"),
        ({"scheduler_name": "volcano"}, None),
    ],
)
def test_who_names_no_queue_waits_in_the_default_one(pairs: Any, placed: dict[str, Any], queue: str | None) -> None:
    spec = pairs.two_nodes(placement=PlacementSpec(**placed))
    plan = pairs.planned(spec, hypothetical(gpu="H100-80", nodes=4))
    assert isinstance(plan, Plan)
    apis = frozenset({LEADER_WORKER_SET, *LOCAL_QUEUES})
    rendering = replace(pairs.rendering(spec, plan), apis=apis)
    queued = replace(rendering, config=replace(rendering.config, cluster_queue="gpus"))
    assert placement.owner_labels(queued).get(KUEUE_QUEUE) == queue
    named = placed.get("queue")
    assert placement.owner_labels(rendering).get(KUEUE_QUEUE) == named, "without the setting as before"
    none = replace(queued, apis=frozenset({LEADER_WORKER_SET}))
    assert placement.owner_labels(none).get(KUEUE_QUEUE) == named, "without Kueue as before"
    on_cpus = replace(queued, plan=replace(plan, gpus_per_pod=0))
    assert placement.owner_labels(on_cpus).get(KUEUE_QUEUE) == named, "processors are nobody's to queue for"


def test_the_systems_own_priorities_are_nobodys_by_default() -> None:
    allowed = OperatorSettings.model_fields["priority_classes"].default
    for name in ("system-cluster-critical", "system-node-critical", "paddock-critical", "paddock-standard"):
        text = needs.priority_problem(PlacementSpec(priority_class_name=name), allowed=allowed)
        assert text is not None
        assert f"is {name}" in text
        assert "allows paddock-batch" in text
    assert needs.priority_problem(PlacementSpec(priority_class_name="paddock-batch"), allowed=allowed) is None
    assert needs.priority_problem(PlacementSpec(), allowed=()) is None


def test_the_webhook_warns_of_a_priority_that_is_not_offered() -> None:
    document = {
        "kind": "LlamaDeployment",
        "metadata": {"namespace": "chat", "name": "x"},
        "spec": {
            "model": {"id": "smollm2-135m-instruct"},
            "placement": {"priorityClassName": "system-cluster-critical"},
        },
    }
    policy = Policy(view=VIEW, expired=False, at=0.0)

    def warned(*priorities: str) -> bool:
        answer = review(new=document, old=None, policy=policy, catalog=packaged_catalog(), priorities=priorities)
        return any("PriorityNotAllowed" in text for text in answer.warnings)

    assert warned("paddock-batch")
    assert not warned("system-cluster-critical")


def test_what_is_the_whole_clusters_is_warned_of_at_the_door() -> None:
    document = {
        "kind": "LlamaDeployment",
        "metadata": {"namespace": "chat", "name": "x"},
        "spec": {"model": {"id": "smollm2-135m-instruct"}, "placement": {"tolerations": [{"operator": "Exists"}]}},
    }
    policy = Policy(view=VIEW, expired=False, at=0.0)

    def warned(*taints: str) -> bool:
        placed = partial(needs.place_problem, schedulers=(), queues=(), taints=taints)
        answer = review(new=document, old=None, policy=policy, catalog=packaged_catalog(), placed=placed)
        return any("PlacementNotAllowed" in text for text in answer.warnings)

    assert warned()
    assert warned("example.com/pool")
    assert not warned("*")
