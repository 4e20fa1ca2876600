"""The Job that compiles an engine, on GPUs like those that will run it, placed and queued as the servers are."""

from typing import Any

from paddock_core.engines.request import encode
from paddock_core.serving.contract import NOT_AT_ONCE

from paddock_operator.decide.images import image_of
from paddock_operator.manifests import placement, pods
from paddock_operator.manifests.render import EngineRendering
from paddock_operator.manifests.weights.service_account import NAME
from paddock_operator.ports import Manifest

ORDER = 1
CONTAINER = "build"
TRIES = 2
LEAST_SECONDS = 3600
BYTES_PER_SECOND = 32 * 1024**2
"""Slowest rate at which weights are given time to become an engine."""
SHARED_MEMORY_BYTES_PER_GPU = 8 * 1024**3


def render(rendering: EngineRendering) -> Manifest:
    """The Job. Its template never changes while it exists: another engine has another name."""
    weights = rendering.size.source_bytes
    metadata = rendering.metadata()
    annotations = placement.queue_annotations(rendering.placement)
    final = {"containerName": CONTAINER, "operator": "In", "values": [NOT_AT_ONCE]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {**metadata, "labels": {**metadata["labels"], **placement.queue_labels(rendering.placement)}},
        "spec": {
            "backoffLimit": TRIES,
            "activeDeadlineSeconds": LEAST_SECONDS + weights // BYTES_PER_SECOND,
            "podFailurePolicy": {
                "rules": [
                    {"action": "FailJob", "onExitCodes": final},
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                ]
            },
            "template": {"metadata": {"labels": rendering.labels, "annotations": annotations}, "spec": _pod(rendering)},
        },
    }


def _pod(rendering: EngineRendering) -> dict[str, Any]:
    shared = SHARED_MEMORY_BYTES_PER_GPU * rendering.size.gpus
    return {
        "restartPolicy": "Never",
        "serviceAccountName": NAME,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pods.pod_security(),
        **placement.on_nodes(rendering.placement, gpus=True),
        "affinity": placement.on_products(rendering.plan.gpu_products),
        "containers": [_container(rendering)],
        "volumes": [
            {"name": "weights", **rendering.config.weights_volume},
            {"name": "tmp", "emptyDir": {}},
            {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": pods.memory(shared)}},
        ],
    }


def _container(rendering: EngineRendering) -> dict[str, Any]:
    plan = rendering.plan
    shared = SHARED_MEMORY_BYTES_PER_GPU * rendering.size.gpus
    memory = pods.memory(rendering.size.memory_bytes)
    gpus = {plan.resource: str(rendering.size.gpus)}
    return {
        "name": CONTAINER,
        "image": image_of(rendering.config, plan.engine),
        "imagePullPolicy": rendering.config.image_pull_policy,
        "args": ["build-engine"],
        "env": [
            {"name": "PADDOCK_SERVING_MODEL", "value": rendering.model.id},
            {"name": "PADDOCK_SERVING_ENGINE", "value": encode(rendering.request)},
            {"name": "PADDOCK_SERVING_WEIGHTS_DIR", "value": "/weights"},
        ],
        "resources": {
            "requests": {"cpu": pods.cpu(plan.cpu_millicores), "memory": memory, **gpus},
            "limits": {"memory": pods.memory(rendering.size.memory_bytes + shared), **gpus},
        },
        "securityContext": pods.container_security(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "weights", "mountPath": "/weights"},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a path inside the container
            {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108
        ],
    }
