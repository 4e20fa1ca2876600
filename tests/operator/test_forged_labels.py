"""Whoever may write objects somewhere may write our labels on them: none of them is believed. On a real API server."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.resources import names
from paddock_core.serving.contract import deployment_secret

ADDRESS, THIEF = "127.77.0.2", "127.77.0.9"
NAME = "forged"
MODEL = packaged_catalog().models["smollm2-135m-instruct"]
JOB = names.weights_job_name(names.model_digest(MODEL, precision=MODEL.default_precision))


def labels(uid: str) -> dict[str, str]:
    return names.deployment_labels(
        namespace="acme", name=NAME, uid=uid, tenant="acme", model="smollm2-135m-instruct"
    )  # fmt: skip


def pod(uid: str) -> dict[str, Any]:
    container = {"name": "server", "image": "registry.test/server:1"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": "globex", "name": "thief", "labels": labels(uid)},
        "spec": {"nodeName": "somewhere", "containers": [container]},
    }


def config_map(uid: str) -> dict[str, Any]:
    metadata = {"namespace": "globex", "name": "freeze", "finalizers": ["example.com/mine"], "labels": labels(uid)}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}


def workload(uid: str) -> dict[str, Any]:
    own = {"app": "mine"}
    template = {
        "metadata": {"labels": own, "annotations": {names.GPUS: "5000"}},
        "spec": {"containers": [{"name": "server", "image": "registry.test/server:1"}]},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {"namespace": "globex", "name": "greedy", "labels": labels(uid)},
        "spec": {"replicas": 1, "selector": {"matchLabels": own}, "template": template},
    }


@pytest.fixture
async def serves(api: Any, policy: Any, helpers: Any, operator: Any, eventually: Any, cluster_helpers: Any) -> str:
    """A deployment of which a copy answers: its uid."""
    policy.put(*helpers.accepted("acme-inc"))
    made = api.apply(cluster_helpers.deployment(name=NAME, engine={"contextLength": 2048, "maxConcurrency": 2}))
    assert made.returncode == 0, made.stderr

    job = await eventually(lambda: cluster_helpers.get(api, "job", JOB, "-n", names.WEIGHTS_NAMESPACE))
    if not job.get("status", {}).get("succeeded"):
        await asyncio.to_thread(cluster_helpers.finish_weights, api, JOB)
    (copy,) = await eventually(lambda: cluster_helpers.copies(api, NAME))
    await asyncio.to_thread(cluster_helpers.run_pod, api, copy, address=ADDRESS)
    return str(cluster_helpers.get(api, "llamadeployment", NAME, "-n", "acme")["metadata"]["uid"])


async def test_forged_objects_get_no_secret_take_no_quota_and_freeze_nothing(
    api: Any,
    policy: Any,
    helpers: Any,
    settings: Any,
    serves: str,
    eventually: Callable[..., Any],
    cluster_helpers: Any,
) -> None:
    uid = serves
    secret = deployment_secret(
        platform_key=settings.read_secret(settings.platform_key_file), deployment_uid=uid, rotation=0
    )
    forged = (pod(uid), config_map("another"), workload(uid))

    def condition(kind: str) -> str:
        return str(cluster_helpers.condition(api, NAME, kind).get("status"))

    async with cluster_helpers.triton_at(ADDRESS) as own, cluster_helpers.triton_at(THIEF) as thief:
        await eventually(lambda: condition("Serving") == "True")
        for item in forged:
            done = api.apply(item)
            assert done.returncode == 0, done.stderr
        cluster_helpers.ready_at(api, "thief", "globex", address=THIEF)
        asked = len(own.asked_with)
        await eventually(lambda: len(own.asked_with) > asked + 2, seconds=60.0)
        assert thief.asked_with == [], "the operator asked a stranger's pod"
        assert secret in own.asked_with
        status = cluster_helpers.get(api, "llamadeployment", NAME, "-n", "acme")["status"]
        assert "quota" not in status
        assert THIEF not in json.dumps(status)
        policy.remove("acceptance", helpers.accepted("acme-inc")[0].id)
        await eventually(lambda: condition("LicenseAccepted") == "False", seconds=60.0)
        await eventually(lambda: not cluster_helpers.copies(api, NAME), seconds=60.0)
    for kind, name in (("pod", "thief"), ("configmap", "freeze"), ("replicaset", "greedy")):
        found = cluster_helpers.get(api, kind, name, "-n", "globex")
        assert "deletionTimestamp" not in found["metadata"], "what lies in another's namespace is another's"
    api.kubectl("-n", "globex", "delete", "replicaset/greedy", "pod/thief", "--force", "--wait=false")
    api.kubectl("-n", "globex", "delete", "configmap/freeze", "--wait=false")
    api.kubectl(
        "-n", "globex", "patch", "configmap", "freeze", "--type=merge", "-p", '{"metadata":{"finalizers":null}}'
    )
