"""Labels that somebody takes off a copy and its revision come back, and nothing is made in their place. On a real API
server, whose watch tells of such an object as of one that was deleted."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.resources import names

ADDRESS = "127.77.0.31"
NAME = "unlabelled"
SERVING = "paddock-serving-acme"
MODEL = packaged_catalog().models["smollm2-135m-instruct"]
JOB = names.weights_job_name(names.model_digest(MODEL, precision=MODEL.default_precision))


def patched(api: Any, kind: str, name: str, metadata: dict[str, Any]) -> None:
    done = api.kubectl("-n", SERVING, "patch", kind, name, "--type=merge", "-p", json.dumps({"metadata": metadata}))
    assert done.returncode == 0, done.stderr


async def test_labels_come_back_on_the_same_objects(
    api: Any, policy: Any, helpers: Any, operator: Any, eventually: Callable[..., Any], cluster_helpers: Any
) -> None:
    policy.put(*helpers.accepted("acme-inc"))
    made = api.apply(cluster_helpers.deployment(name=NAME, engine={"contextLength": 2048, "maxConcurrency": 2}))
    assert made.returncode == 0, made.stderr
    job = await eventually(lambda: cluster_helpers.get(api, "job", JOB, "-n", names.WEIGHTS_NAMESPACE), seconds=60.0)
    if not job.get("status", {}).get("succeeded"):
        await asyncio.to_thread(cluster_helpers.finish_weights, api, JOB)
    (copy,) = await eventually(lambda: cluster_helpers.copies(api, NAME), seconds=60.0)
    pod = await asyncio.to_thread(cluster_helpers.run_pod, api, copy, address=ADDRESS)
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "controller": True}
    own = {name: copy["metadata"][name] for name in ("name", "uid")}
    patched(api, "pod", pod, {"ownerReferences": [{**owner, **own}]})
    (pinned,) = cluster_helpers.copies(api, NAME, kind="configmap")

    def as_before(kind: str, before: dict[str, Any]) -> bool:
        found = cluster_helpers.get(api, kind, before["metadata"]["name"], "-n", SERVING)
        same = [
            found["metadata"].get(part) == before["metadata"].get(part) for part in ("uid", "labels", "annotations")
        ]
        return all(same)

    async with cluster_helpers.triton_at(ADDRESS):
        await eventually(lambda: cluster_helpers.condition(api, NAME, "Serving").get("status") == "True", seconds=60.0)
        for kind, before in (("replicaset", copy), ("configmap", pinned)):
            patched(api, kind, before["metadata"]["name"], {"labels": {names.MANAGED_BY: None}})
            await eventually(lambda kind=kind, before=before: as_before(kind, before), seconds=60.0)
        patched(api, "configmap", pinned["metadata"]["name"], {"labels": None, "annotations": None})
        await eventually(lambda: as_before("configmap", pinned), seconds=60.0)
        assert [item["metadata"]["uid"] for item in cluster_helpers.copies(api, NAME)] == [own["uid"]]
    cluster_helpers.remove_pod(api, SERVING, pod)
    api.kubectl("-n", "acme", "delete", "llamadeployment", NAME, "--wait=false")
    await eventually(lambda: not cluster_helpers.copies(api, NAME), seconds=60.0)
