"""What a tenant's people may do on a real API server, and what bounds the namespace in which their models run."""

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from paddock_core.policy.documents import Namespace, Tenant
from paddock_core.resources import names

SERVING = names.serving_namespace("acme")
AS_ACME = ("--as", "ada@acme.example", "--as-group", names.tenant_group("acme"), "--as-group", "system:authenticated")
DEPLOYMENT = {
    "apiVersion": "paddock.dev/v1alpha1",
    "kind": "LlamaDeployment",
    "metadata": {"name": "rights", "namespace": "acme"},
    "spec": {"model": {"id": "smollm2-135m-instruct"}},
}


@pytest.fixture
def serving_space(api: Any) -> Iterator[None]:
    """The namespace in which acme's models run, as the first deployment makes it."""
    labels = {names.MANAGED_BY: names.OPERATOR, names.COMPONENT: names.SERVING, names.TENANT: "acme"}
    metadata = {"name": SERVING, "labels": labels}
    assert api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}).returncode == 0
    yield
    api.kubectl("-n", SERVING, "delete", "resourcequota,limitrange", "--all")


def can(api: Any, verb: str, resource: str, *, namespace: str) -> bool:
    """What the API server's own authorizer says."""
    return bool(api.kubectl("auth", "can-i", verb, resource, "-n", namespace, *AS_ACME).stdout.strip() == "yes")


def rights(api: Any, namespace: str) -> dict[str, set[str]]:
    """Resources and verbs, without what everybody may: ask about themselves."""
    found = {}
    for line in api.kubectl("auth", "can-i", "--list", "--no-headers", "-n", namespace, *AS_ACME).stdout.splitlines():
        resource, verbs = line.split()[0], line[line.rindex("[") + 1 : line.rindex("]")]
        if not resource.startswith("[") and not resource.startswith("selfsubject"):
            found[resource] = set(verbs.split())
    return found


def binding(api: Any, namespace: str) -> dict[str, Any] | None:
    done = api.kubectl("-n", namespace, "get", "rolebinding", names.TENANT_BINDING, "-o", "json")
    return json.loads(done.stdout) if done.returncode == 0 else None


async def test_people_of_a_tenant_manage_deployments_and_reach_no_pod(
    api: Any, operator: Any, serving_space: None, eventually: Callable[..., Any]
) -> None:
    await eventually(lambda: can(api, "create", "llamadeployments.paddock.dev", namespace="acme"))
    for namespace in (SERVING, names.WEIGHTS_NAMESPACE, names.PLATFORM_NAMESPACE, "globex"):
        assert rights(api, namespace) == {}, namespace
    assert rights(api, "acme") == {
        "events": {"get", "list", "watch"},
        "llamadeployments.paddock.dev": {"get", "list", "watch", "create", "update", "patch", "delete"},
        "llamadeployments.paddock.dev/scale": {"get", "update", "patch"},
        "llamadeployments.paddock.dev/status": {"get"},
    }


async def test_requests_of_a_tenants_person_are_answered_so(
    api: Any, operator: Any, serving_space: None, eventually: Callable[..., Any]
) -> None:
    await eventually(lambda: can(api, "create", "llamadeployments.paddock.dev", namespace="acme"))
    made = api.kubectl("create", "-f", "-", *AS_ACME, stdin=json.dumps(DEPLOYMENT))
    assert made.returncode == 0, made.stderr
    status = '{"status":{"quota":{"gpus":0,"limit":99999}}}'
    words = ("-n", "acme", "patch", "llamadeployment", "rights", "--subresource", "status", "--type", "merge", "-p")
    assert "forbidden" in api.kubectl(*words, status, *AS_ACME).stderr
    for reach in (("get", "pods"), ("get", "secrets"), ("exec", "any", "--", "sh"), ("port-forward", "any", "8000")):
        done = api.kubectl(*AS_ACME, "-n", SERVING, *reach)
        assert done.returncode != 0
        assert "forbidden" in done.stderr, reach
    assert api.kubectl("-n", "acme", "delete", "llamadeployment", "rights", "--wait=false", *AS_ACME).returncode == 0


async def test_rights_follow_the_namespace(
    api: Any, policy: Any, operator: Any, helpers: Any, eventually: Callable[..., Any]
) -> None:
    name = "acme-late"
    policy.put(Namespace(id=name, tenant="acme"))
    await asyncio.sleep(0)
    assert api.kubectl("create", "namespace", name).returncode == 0
    found = await eventually(lambda: binding(api, name))
    assert found["subjects"][0]["name"] == "paddock:acme"
    policy.put(Namespace(id=name, tenant="globex"))
    await eventually(lambda: (binding(api, name) or {"subjects": [{}]})["subjects"][0].get("name") == "paddock:globex")
    assert api.kubectl("-n", name, "delete", "rolebinding", names.TENANT_BINDING).returncode == 0
    await eventually(lambda: binding(api, name))
    policy.remove("namespace", name)
    await eventually(lambda: binding(api, name) is None)


def revision(api: Any) -> str:
    words = ("get", "resourcequota", names.PRODUCT, "-o", "jsonpath={.metadata.resourceVersion}")
    return str(api.kubectl("-n", SERVING, *words).stdout)


def hard(api: Any) -> dict[str, str]:
    done = api.kubectl("-n", SERVING, "get", "resourcequota", names.PRODUCT, "-o", "json")
    return dict(json.loads(done.stdout)["spec"]["hard"]) if done.returncode == 0 else {}


async def test_a_serving_namespace_is_bounded_and_the_bound_follows_the_quota(
    api: Any, policy: Any, operator: Any, serving_space: None, eventually: Callable[..., Any]
) -> None:
    found = await eventually(lambda: hard(api))
    assert (found["services.loadbalancers"], found["services.nodeports"], found["pods"]) == ("0", "0", "1k")
    policy.put(Tenant(id="acme", entity="acme-inc", gpus=16))
    await eventually(lambda: hard(api).get("requests.nvidia.com/gpu") == "32")
    assert hard(api)["requests.nvidia.com/mig-3g.40gb"] == "32"
    policy.put(Tenant(id="acme", entity="acme-inc", gpus=0))
    await eventually(lambda: hard(api).get("requests.nvidia.com/gpu") == "0")
    policy.put(Tenant(id="acme", entity="acme-inc", gpus=2000))
    await eventually(lambda: hard(api).get("requests.nvidia.com/gpu") == "4k")
    written = revision(api)
    for _ in range(2):
        # The binding is written first: the second one comes with a look after one that was done to its end.
        api.kubectl("-n", "globex", "delete", "rolebinding", names.TENANT_BINDING)
        await eventually(lambda: binding(api, "globex"))
    assert revision(api) == written, "what is as it should be is not written again"
    limits = api.kubectl("-n", SERVING, "get", "limitrange", names.PRODUCT, "-o", "json")
    (rule,) = json.loads(limits.stdout)["spec"]["limits"]
    assert "default" not in rule, "a limit that nobody chose would kill servers"
    assert set(rule["defaultRequest"]) == {"cpu", "memory"}


async def test_the_operator_may_give_that_role_and_no_other(api: Any) -> None:
    wanted = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "too-much", "namespace": "acme"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "paddock:acme"}],
    }
    assert "forbidden" in api.apply(wanted, user="operator").stderr
