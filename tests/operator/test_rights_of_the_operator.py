"""What the operator may write, by the API server's own word: in the platform's namespaces, and nowhere else."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from paddock_core.resources import names

RBAC = Path(__file__).resolve().parents[2] / "charts" / "paddock" / "files" / "rbac"
STRANGE = ("kube-system", "default", "acme", names.PLATFORM_NAMESPACE)
OWN = (names.WEIGHTS_NAMESPACE, names.serving_namespace("acme"))
WRITES = {"create", "update", "patch", "delete", "deletecollection"}
POD = {"containers": [{"name": "server", "image": "registry.test/server:1"}]}
LABELS = {"app": "mine"}
TEMPLATE = {"metadata": {"labels": LABELS}, "spec": {**POD, "restartPolicy": "Always"}}
OBJECTS: dict[str, dict[str, Any]] = {
    "ConfigMap": {"apiVersion": "v1"},
    "Secret": {"apiVersion": "v1"},
    "ServiceAccount": {"apiVersion": "v1"},
    "ResourceQuota": {"apiVersion": "v1", "spec": {"hard": {"pods": "0"}}},
    "LimitRange": {"apiVersion": "v1", "spec": {"limits": []}},
    "NetworkPolicy": {"apiVersion": "networking.k8s.io/v1", "spec": {"podSelector": {}}},
    "PodDisruptionBudget": {"apiVersion": "policy/v1", "spec": {"minAvailable": 1}},
    "ReplicaSet": {"apiVersion": "apps/v1", "spec": {"selector": {"matchLabels": LABELS}, "template": TEMPLATE}},
    "Job": {"apiVersion": "batch/v1", "spec": {"template": {"spec": {**POD, "restartPolicy": "Never"}}}},
}


def as_operator(api: Any, manifest: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    """What the operator's server-side apply would be answered."""
    words = ("apply", "--server-side", "--dry-run=server", "--field-manager=paddock-operator", "-f", "-")
    done: subprocess.CompletedProcess[str] = api.kubectl(*words, user="operator", stdin=json.dumps(manifest))
    return done


def placed(kind: str, namespace: str) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": "mine", "namespace": namespace}, **OBJECTS[kind]}


@pytest.fixture
async def bounded(api: Any, eventually: Callable[..., Any]) -> None:
    """The API server takes up a new policy a little after it was written."""
    for name in OWN:
        api.kubectl("create", "namespace", name)
    await eventually(
        lambda: "the operator of Paddock writes in" in as_operator(api, placed("Secret", STRANGE[0])).stderr
    )


async def test_it_writes_in_the_platforms_namespaces_alone(api: Any, bounded: None) -> None:
    for kind in OBJECTS:
        for namespace in (*STRANGE, *OWN):
            done = as_operator(api, placed(kind, namespace))
            assert (done.returncode == 0) is (namespace in OWN), (kind, namespace, done.stderr)
            assert done.returncode == 0 or namespace in done.stderr


async def test_it_deletes_nothing_of_others_and_changes_no_namespace_of_others(api: Any, bounded: None) -> None:
    for namespace in ("kube-system", OWN[1]):
        for kind in ("Secret", "ConfigMap"):
            assert api.apply(placed(kind, namespace)).returncode == 0
            words = ("-n", namespace, "delete", kind, "mine", "--dry-run=server")
            assert (api.kubectl(*words, user="operator").returncode == 0) is (namespace in OWN), (kind, namespace)
            api.kubectl("-n", namespace, "delete", kind, "mine")
    for namespace in (*STRANGE, *OWN):
        labels = ("patch", "namespace", namespace, "--type=merge", "-p", '{"metadata":{"labels":{"mine":"yes"}}}')
        done = api.kubectl(*labels, "--dry-run=server", user="operator")
        assert (done.returncode == 0) is (namespace in OWN), (namespace, done.stderr)


async def test_it_gives_the_tenants_role_in_no_namespace_of_the_system(api: Any, bounded: None) -> None:
    for namespace, name, may in (
        ("acme", names.TENANT_BINDING, True),
        ("acme", "another", False),
        ("kube-system", names.TENANT_BINDING, False),
        (names.PLATFORM_NAMESPACE, names.TENANT_BINDING, False),
    ):
        binding = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": name, "namespace": namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": names.TENANT_ROLE},
        }
        assert (as_operator(api, binding).returncode == 0) is may, (namespace, name)


def test_leases_of_others_are_out_of_reach(api: Any) -> None:
    def can(verb: str, name: str, namespace: str) -> bool:
        words = ("auth", "can-i", verb, f"leases.coordination.k8s.io/{name}", "-n", namespace)
        return bool(api.kubectl(*words, user="operator").stdout.strip() == "yes")

    for namespace in ("kube-system", "kube-node-lease", "acme"):
        assert not any(can(verb, names.OPERATOR, namespace) for verb in ("get", "create", "update", "patch", "delete"))
    assert can("update", names.OPERATOR, names.PLATFORM_NAMESPACE)
    assert not can("update", "another", names.PLATFORM_NAMESPACE)


def test_what_it_may_write_in_kube_system_by_role_is_known_and_bounded() -> None:
    """A right that is added to the role is bounded without a word: the policy names what it leaves out."""
    (role,) = [item for item in documents("operator.yaml") if item["kind"] == "ClusterRole"]
    (policy,) = [item for item in documents("operator-bounds.yaml") if item["kind"] == "ValidatingAdmissionPolicy"]
    (rule,) = policy["spec"]["matchConstraints"]["resourceRules"]
    assert (rule["apiGroups"], rule["resources"]) == (["*"], ["*/*"])
    left_out = {"paddock.dev"}
    anywhere = {
        (group, resource)
        for item in role["rules"]
        for group in item["apiGroups"]
        for resource in item["resources"]
        if WRITES & set(item["verbs"]) and group in left_out | {"coordination.k8s.io"}
    }
    own = {
        f"{plural}{part}" for plural in ("llamadeployments", "llamamodels") for part in ("", "/status", "/finalizers")
    }
    assert anywhere == {("paddock.dev", resource) for resource in own}


def test_what_the_bounds_leave_out_is_its_own_or_nothing_that_it_has_a_right_to() -> None:
    (policy,) = [item for item in documents("operator-bounds.yaml") if item["kind"] == "ValidatingAdmissionPolicy"]
    may = {
        (group, resource)
        for document in documents("operator.yaml")
        for item in document.get("rules", ())
        for group in item["apiGroups"]
        for resource in item["resources"]
        if WRITES & set(item["verbs"])
    }
    left_out = {
        (group, resource)
        for rule in policy["spec"]["matchConstraints"]["excludeResourceRules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    own = {"paddock.dev", "coordination.k8s.io", "authorization.k8s.io", "authentication.k8s.io"}
    assert {group for group, resource in left_out if "*" in group + resource} == own
    assert {place for place in left_out if "*" not in place[1]} & may == {("", "events")}


def documents(name: str) -> list[dict[str, Any]]:
    return [item for item in yaml.safe_load_all((RBAC / name).read_text()) if item]
