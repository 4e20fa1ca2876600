"""The scale subresource on a real API server: what kubectl scale, an HPA or KEDA writes and reads."""

import asyncio
import contextlib
import json
from typing import Any

from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.resources import names

MODEL = packaged_catalog().models["smollm2-135m-instruct"]
JOB = names.weights_job_name(names.model_digest(MODEL, precision=MODEL.default_precision))
NAME, SERVING = "elastic", "paddock-serving-acme"
ADDRESSES = [f"127.77.9.{number}" for number in range(1, 4)]


def copies(api: Any, cluster_helpers: Any) -> list[dict[str, Any]]:
    """The workloads of the deployment's copies that are not going."""
    found = cluster_helpers.get(api, "replicasets", "-n", SERVING, "-l", f"{names.DEPLOYMENT_NAME}={NAME}")
    return [item for item in found["items"] if "deletionTimestamp" not in item["metadata"]]


def scale(api: Any) -> dict[str, Any]:
    """The subresource, as an autoscaler reads it."""
    path = f"/apis/paddock.dev/v1alpha1/namespaces/acme/llamadeployments/{NAME}/scale"
    done = api.kubectl("get", "--raw", path)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


async def test_a_copy_more_is_asked_for_and_counted_by_the_scale_subresource(
    api: Any, policy: Any, helpers: Any, operator: Any, eventually: Any, cluster_helpers: Any
) -> None:
    policy.put(*helpers.accepted("acme-inc"))
    api.apply(cluster_helpers.deployment(name=NAME))
    job = await eventually(lambda: cluster_helpers.get(api, "job", JOB, "-n", "paddock-weights"))
    if not job.get("status", {}).get("succeeded"):
        await asyncio.to_thread(cluster_helpers.finish_weights, api, JOB)
    async with contextlib.AsyncExitStack() as tritons:
        for address in ADDRESSES:
            await tritons.enter_async_context(cluster_helpers.triton_at(address))
        (first,) = await eventually(lambda: copies(api, cluster_helpers))
        await asyncio.to_thread(lambda: cluster_helpers.run_pod(api, first, address=ADDRESSES[0]))
        await eventually(lambda: scale(api).get("status", {}).get("replicas") == 1)

        done = api.kubectl("scale", "llamadeployment", NAME, "-n", "acme", "--replicas=3")
        assert done.returncode == 0, done.stderr
        await eventually(lambda: len(copies(api, cluster_helpers)) == 3)
        others = [item for item in copies(api, cluster_helpers) if item["metadata"]["uid"] != first["metadata"]["uid"]]
        for item, address in zip(others, ADDRESSES[1:], strict=True):
            await asyncio.to_thread(cluster_helpers.run_pod, api, item, address=address)
        await eventually(lambda: scale(api)["status"]["replicas"] == 3)
        found = scale(api)
        assert found["spec"]["replicas"] == 3
        picked = cluster_helpers.get(api, "pods", "-n", SERVING, "-l", found["status"]["selector"])["items"]
        assert len({item["metadata"]["labels"][names.COPY] for item in picked}) == len(picked) == 3

        done = api.kubectl("scale", "llamadeployment", NAME, "-n", "acme", "--replicas=1")
        assert done.returncode == 0, done.stderr
        # No gateway answers here: the copies that go stay until the limit of their drain, and get no request.
        await eventually(lambda: len(endpoints(api, cluster_helpers)) == 1)
    api.kubectl("delete", "llamadeployment", NAME, "-n", "acme", "--wait=false")
    await eventually(lambda: not copies(api, cluster_helpers))
    labels = ("-l", f"{names.DEPLOYMENT_NAME}={NAME}")
    api.kubectl("delete", "pods", "-n", SERVING, *labels, "--grace-period=0", "--force")
    await eventually(lambda: cluster_helpers.get(api, "llamadeployment", NAME, "-n", "acme") is None)


def endpoints(api: Any, cluster_helpers: Any) -> list[dict[str, Any]]:
    """Where requests are sent."""
    routing = cluster_helpers.get(api, "llamadeployment", NAME, "-n", "acme")["status"]["routing"]
    return [endpoint for target in routing.get("targets", []) for endpoint in target.get("endpoints", [])]


async def test_the_webhook_hears_what_is_written_to_the_scale_subresource(
    api: Any, operator: Any, webhook: Any, eventually: Any, cluster_helpers: Any
) -> None:
    name = "rescaled"
    done = api.apply(cluster_helpers.deployment(name=name, replicas=4, minAvailable=3))
    assert done.returncode == 0, done.stderr

    def scaled(replicas: int) -> Any:
        return api.kubectl("scale", "llamadeployment", name, "-n", "acme", f"--replicas={replicas}")

    def warned() -> str:
        # The API server takes a moment to learn of its configuration, and the operator of the object.
        text = scaled(2).stderr
        scaled(4)
        return text if "Warning: MinAvailable" in text else ""

    assert "asks for 3 copies, and there are 2 at most" in await eventually(warned)
    assert "MinAvailable" not in scaled(3).stderr
    too_many = scaled(65)
    assert too_many.returncode != 0
    assert "should be less than or equal to 64" in too_many.stderr
    assert cluster_helpers.get(api, "llamadeployment", name, "-n", "acme")["spec"]["replicas"] == 3
    assert api.kubectl("delete", "llamadeployment", name, "-n", "acme", "--timeout=30s").returncode == 0
