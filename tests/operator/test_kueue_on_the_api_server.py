"""Where Kueue is: the tenant's queue comes and goes with the setting, and pods on GPUs wait in it.

Its own controller does not run here: what is looked at is what it would be given.
"""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.resources import names
from paddock_operator.kinds import KUEUE_QUEUE

MODEL = packaged_catalog().models["llama-3.2-1b-instruct"]
JOB = names.weights_job_name(names.model_digest(MODEL, precision=MODEL.default_precision))
NAME, NODE, SERVING = "queued", "gpu-queued", "paddock-serving-acme"


@pytest.fixture
def kueue(api: Any, optional_kinds: Any) -> Iterator[None]:
    """The kind, and a node with GPUs."""
    definition = optional_kinds.queue_definition()
    crd = definition["metadata"]["name"]
    assert api.apply(definition).returncode == 0
    assert api.kubectl("wait", "--for=condition=Established", f"crd/{crd}", "--timeout=60s").returncode == 0
    yield
    api.kubectl("delete", "crd", crd, "--timeout=60s")
    api.kubectl("delete", "node", NODE)


def queue(api: Any, cluster_helpers: Any) -> Any:
    return cluster_helpers.get(api, "localqueues.kueue.x-k8s.io", names.QUEUE, "-n", SERVING)


def licensed_model(helpers: Any) -> list[Any]:
    license_id = "llama3.2"
    tenant = helpers.accepted("acme-inc", license_id=license_id)
    return [*helpers.texts(license_id), *tenant, *helpers.accepted("platform", role="operator", license_id=license_id)]


async def test_the_queue_comes_and_goes_with_the_setting_and_pods_on_gpus_wait_in_it(
    api: Any, kueue: None, policy: Any, helpers: Any, new_operator: Any, eventually: Any, cluster_helpers: Any
) -> None:
    cluster_helpers.gpu_node(api, NODE, product="NVIDIA-H100-80GB-HBM3", gpus=1)
    policy.put(*licensed_model(helpers))
    queueing = new_operator(cluster_queue="gpus", tenant_gpus="8")
    await queueing.start()
    done = api.apply(cluster_helpers.deployment(name=NAME, model={"id": MODEL.id}))
    assert done.returncode == 0, done.stderr
    job = await eventually(lambda: cluster_helpers.get(api, "job", JOB, "-n", names.WEIGHTS_NAMESPACE))
    if not job.get("status", {}).get("succeeded"):
        await asyncio.to_thread(cluster_helpers.finish_weights, api, JOB)
    (copy,) = await eventually(lambda: cluster_helpers.copies(api, NAME))
    assert copy["spec"]["template"]["metadata"]["labels"][KUEUE_QUEUE] == names.QUEUE
    pod = await asyncio.to_thread(lambda: cluster_helpers.run_pod(api, copy, address="127.77.19.2"))
    made = cluster_helpers.get(api, "pod", pod, "-n", SERVING)
    assert made["metadata"]["labels"][KUEUE_QUEUE] == names.QUEUE

    found = await eventually(lambda: queue(api, cluster_helpers))
    assert found["spec"] == {"clusterQueue": "gpus"}
    assert api.kubectl("delete", "localqueues.kueue.x-k8s.io", names.QUEUE, "-n", SERVING).returncode == 0
    await eventually(lambda: queue(api, cluster_helpers))
    assert await queueing.stop() == 0

    plain = new_operator(tenant_gpus="8")
    await plain.start()
    await eventually(lambda: queue(api, cluster_helpers) is None)
    api.kubectl("delete", "llamadeployment", NAME, "-n", "acme", "--wait=false")
    await eventually(lambda: not cluster_helpers.copies(api, NAME))
    api.kubectl("delete", "pod", pod, "-n", SERVING, "--grace-period=0", "--force")
    await eventually(lambda: cluster_helpers.get(api, "llamadeployment", NAME, "-n", "acme") is None)
