"""What controllers, scheduler and kubelet would do, done by hand through the API: there is only an API server here."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web
from paddock_core.serving.contract import HTTP_PORT, SECRET_HEADER

RESULT = json.dumps({"tokenizer": "sha256:" + "7" * 64, "weights": "b1" * 32, "bytes": 98362432})


def deployment(*, name: str, namespace: str = "acme", **spec: Any) -> dict[str, Any]:
    """A LlamaDeployment of the demo model."""
    return {
        "apiVersion": "paddock.dev/v1alpha1",
        "kind": "LlamaDeployment",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"model": {"id": "smollm2-135m-instruct"}, **spec},
    }


def get(api: Any, *what: str) -> Any:
    """`kubectl get -o json`, None if it is not there."""
    done = api.kubectl("get", *what, "-o", "json")
    return json.loads(done.stdout) if done.returncode == 0 else None


def copies(api: Any, name: str, *, kind: str = "replicaset", namespace: str = "paddock-serving-acme") -> list[Any]:
    """What makes the pods of a deployment's copies, in the order of their names."""
    selector = f"paddock.dev/deployment-name={name}"
    found = get(api, kind, "-n", namespace, "-l", selector)
    return sorted((found or {}).get("items", []), key=lambda item: str(item["metadata"]["name"]))


def condition(api: Any, name: str, kind: str, namespace: str = "acme") -> dict[str, Any]:
    """A condition of a LlamaDeployment, empty if it is not there."""
    found = get(api, "llamadeployment", name, "-n", namespace)
    conditions = (found or {}).get("status", {}).get("conditions", [])
    return next((item for item in conditions if item["type"] == kind), {})


def finish_weights(api: Any, job: str) -> None:
    """End a weights Job as its controller and the kubelet would: a pod with a termination message, then Complete."""
    found = get(api, "job", job, "-n", "paddock-weights")
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "namespace": "paddock-weights",
            "name": f"{job}-pod",
            "labels": found["spec"]["template"]["metadata"]["labels"],
        },
        "spec": found["spec"]["template"]["spec"],
    }
    done = api.apply(pod)
    assert done.returncode == 0, done.stderr
    ended = {"exitCode": 0, "message": RESULT, "reason": "Completed"}
    _status(api, "pod", f"{job}-pod", "paddock-weights", {"phase": "Succeeded", **_container("prepare", ended)})
    now = "2026-01-01T00:00:00Z"
    conditions = [
        {"type": kind, "status": "True", "lastTransitionTime": now, "lastProbeTime": now}
        for kind in ("SuccessCriteriaMet", "Complete")
    ]
    _status(
        api,
        "job",
        job,
        "paddock-weights",
        {"conditions": conditions, "startTime": now, "completionTime": now, "succeeded": 1},
    )


def gpu_node(api: Any, name: str, *, product: str, gpus: int) -> None:
    """A node as GPU feature discovery, the device plugin and, once it is ready, the node controller would leave it."""
    labels = {"nvidia.com/gpu.product": product, "nvidia.com/gpu.count": str(gpus)}
    done = api.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}})
    assert done.returncode == 0, done.stderr
    amounts = {"nvidia.com/gpu": str(gpus), "cpu": "64", "memory": "512Gi"}
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady"}
    patch = json.dumps({"status": {"allocatable": amounts, "capacity": amounts, "conditions": [ready]}})
    done = api.kubectl("patch", "node", name, "--subresource=status", "--type=merge", "-p", patch)
    assert done.returncode == 0, done.stderr
    # The API server taints every new node as not ready.
    done = api.kubectl("patch", "node", name, "--type=merge", "-p", json.dumps({"spec": {"taints": None}}))
    assert done.returncode == 0, done.stderr


def run_weights(api: Any, job: dict[str, Any], *, address: str) -> None:
    """Create the pod of a weights Job, running at this address."""
    name, namespace, template = f"{job['metadata']['name']}-pod", "paddock-weights", job["spec"]["template"]
    labels = template["metadata"]["labels"]
    metadata = {"namespace": namespace, "name": name, "labels": labels}
    done = api.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]})
    assert done.returncode == 0, done.stderr
    _status(api, "pod", name, namespace, {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]})


def run_pod(api: Any, serving: dict[str, Any], *, address: str, suffix: str = "a") -> str:
    """Create a pod of a ReplicaSet, with a node, ready, at this address. Its name."""
    place = serving["metadata"]
    name = f"{place['name']}-{suffix}"
    template = serving["spec"]["template"]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": place["namespace"], "name": name, **template["metadata"]},
        "spec": {**template["spec"], "nodeName": "somewhere"},
    }
    done = api.apply(pod)
    assert done.returncode == 0, done.stderr
    ready_at(api, name, place["namespace"], address=address)
    return name


def ready_at(api: Any, pod: str, namespace: str, *, address: str) -> None:
    """Let a pod run and be ready at this address."""
    ready = [{"type": "Ready", "status": "True"}, {"type": "PodScheduled", "status": "True"}]
    status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "conditions": ready}
    _status(api, "pod", pod, namespace, status)


def hangs(api: Any, pod: str, namespace: str) -> None:
    """Let a pod run on and not be ready any more."""
    not_ready = [{"type": "Ready", "status": "False"}, {"type": "PodScheduled", "status": "True"}]
    _status(api, "pod", pod, namespace, {"phase": "Running", "conditions": not_ready})


def remove_pod(api: Any, namespace: str, name: str) -> None:
    """Let a pod be gone at once, as if its kubelet had ended it."""
    api.kubectl("delete", "pod", name, "-n", namespace, "--grace-period=0", "--force")


def _container(name: str, terminated: dict[str, Any]) -> dict[str, Any]:
    return {
        "containerStatuses": [
            {
                "name": name,
                "image": "i",
                "imageID": "i",
                "ready": False,
                "restartCount": 0,
                "state": {"terminated": terminated},
            }
        ]
    }


def _status(api: Any, kind: str, name: str, namespace: str, status: dict[str, Any]) -> None:
    done = api.kubectl(
        "patch",
        kind,
        name,
        "-n",
        namespace,
        "--subresource=status",
        "--type=merge",
        "-p",
        json.dumps({"status": status}),
    )
    assert done.returncode == 0, done.stderr


class Responder:
    """Answers Triton's generate endpoint with one token, or not, at an address of a pod."""

    def __init__(self) -> None:
        self.healthy = True
        self.asked_with: list[str] = []

    async def generate(self, request: web.Request) -> web.Response:
        self.asked_with.append(request.headers.get(SECRET_HEADER, ""))
        if not self.healthy:
            # As Triton does when the backend's process is gone: 200, and an error in the body.
            return web.json_response({"error": "Stub process is unhealthy and it will be restarted."})
        return web.json_response({"text_output": " there", "num_output_tokens": 1, "num_input_tokens": 1})


@contextlib.asynccontextmanager
async def triton_at(address: str) -> AsyncIterator[Responder]:
    """A responder until the block ends."""
    responder = Responder()
    app = web.Application()
    app.router.add_post("/v2/models/tensorrt_llm/generate", responder.generate)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, address, HTTP_PORT).start()
    try:
        yield responder
    finally:
        await runner.cleanup()
        await asyncio.sleep(0)
