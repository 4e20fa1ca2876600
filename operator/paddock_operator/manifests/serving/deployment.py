"""The pods of a deployment whose copies each fit one node."""

from typing import Any

import msgspec
from paddock_core.planning.gpus import GPU_RESOURCE, PRODUCT_LABEL
from paddock_core.resources import names
from paddock_core.serving.contract import GRPC_PORT, HTTP_PORT, METRICS_PORT

from paddock_operator.manifests import pods
from paddock_operator.manifests.render import Rendering, digest_of
from paddock_operator.manifests.serving.config_map import files, key_of
from paddock_operator.manifests.serving.secret import SECRET_KEY
from paddock_operator.ports import Manifest

ORDER = 8
GRACE_SECONDS = 90
"""Triton is given 60 s to end running requests; the rest is for the engine to close."""
LOAD_BYTES_PER_SECOND = 256 * 1024**2
"""Slowest storage that start-up is given time for."""
START_SECONDS = 60
SMALL_MODEL_BYTES = 4 * 1024**3
SHARED_MEMORY_BYTES = 1024**3
"""Shared memory for Triton's Python backend; GPU engines get more, for their workers."""
SHARED_MEMORY_BYTES_PER_GPU = 8 * 1024**3


def render(rendering: Rendering) -> Manifest:
    """The Deployment."""
    on_gpu = rendering.plan.gpus_per_pod > 0
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": rendering.metadata(),
        "spec": {
            "replicas": rendering.spec.replicas,
            "revisionHistoryLimit": 2,
            "selector": {"matchLabels": rendering.selector},
            # GPUs for one more copy are rarely free: there the old copy goes before the new one comes.
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}
                if on_gpu
                else {"maxSurge": 1, "maxUnavailable": 0},
            },
            "template": _template(rendering),
        },
    }


def _template(rendering: Rendering) -> dict[str, Any]:
    restart_for = digest_of([files(rendering), rendering.secret])
    return {
        "metadata": {"labels": rendering.labels, "annotations": {names.RENDERING: restart_for}},
        "spec": {
            "serviceAccountName": rendering.name,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": GRACE_SECONDS,
            "securityContext": pods.pod_security(),
            "nodeSelector": rendering.spec.placement.node_selector,
            **_affinity(rendering),
            "tolerations": _tolerations(rendering),
            "containers": [_container(rendering)],
            "volumes": _volumes(rendering),
        },
    }


def _container(rendering: Rendering) -> dict[str, Any]:
    return {
        "name": "triton",
        "image": rendering.config.serving_image,
        "imagePullPolicy": rendering.config.image_pull_policy,
        "args": ["serve"],
        "env": [
            {
                "name": "PADDOCK_SERVING_TRITON_SECRET",
                "valueFrom": {"secretKeyRef": {"name": rendering.name, "key": SECRET_KEY}},
            },
            {
                "name": "PADDOCK_SERVING_BIND",
                "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "status.podIP"}},
            },
        ],
        "ports": [
            {"name": "http", "containerPort": HTTP_PORT, "protocol": "TCP"},
            {"name": "grpc", "containerPort": GRPC_PORT, "protocol": "TCP"},
            {"name": "metrics", "containerPort": METRICS_PORT, "protocol": "TCP"},
        ],
        "resources": _resources(rendering),
        "securityContext": pods.container_security(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        **_probes(rendering),
        "volumeMounts": [
            {"name": "models", "mountPath": "/models", "readOnly": True},
            {"name": "weights", "mountPath": "/weights", "readOnly": True},
            {"name": "scratch", "mountPath": "/scratch"},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a path inside the container
            {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108
        ],
    }


def _resources(rendering: Rendering) -> dict[str, Any]:
    plan = rendering.plan
    memory = pods.memory(plan.memory_bytes)
    requests = {"cpu": pods.cpu(plan.cpu_millicores), "memory": memory}
    limits = {"memory": memory}
    if plan.gpus_per_pod:
        requests[GPU_RESOURCE] = limits[GPU_RESOURCE] = str(plan.gpus_per_pod)
    return {"requests": requests, "limits": limits}


def _probes(rendering: Rendering) -> dict[str, Any]:
    """Start-up may take as long as the weights are large; Triton opens its port only when the model is loaded."""
    period = 1 if rendering.plan.weights_bytes < SMALL_MODEL_BYTES else 10
    budget = START_SECONDS + rendering.plan.weights_bytes // LOAD_BYTES_PER_SECOND
    return {
        "startupProbe": _probe("/v2/health/ready", period=period, failures=-(-budget // period)),
        "readinessProbe": _probe("/v2/health/ready", period=2, failures=3),
        "livenessProbe": _probe("/v2/health/live", period=10, failures=6),
    }


def _probe(path: str, *, period: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": HTTP_PORT, "scheme": "HTTP"},
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def _volumes(rendering: Rendering) -> list[dict[str, Any]]:
    gpus = rendering.plan.gpus_per_pod
    shared = SHARED_MEMORY_BYTES_PER_GPU * gpus or SHARED_MEMORY_BYTES
    items = [{"key": key_of(path), "path": path} for path in files(rendering)]
    return [
        {"name": "models", "configMap": {"name": rendering.name, "items": items}},
        {"name": "weights", **rendering.config.weights_volume},
        {"name": "scratch", "emptyDir": {}},
        {"name": "tmp", "emptyDir": {}},
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": pods.memory(shared)}},
    ]


def _affinity(rendering: Rendering) -> dict[str, Any]:
    products = list(rendering.plan.gpu_products)
    if not products:
        return {}
    term = {"matchExpressions": [{"key": PRODUCT_LABEL, "operator": "In", "values": products}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    return {"affinity": {"nodeAffinity": required}}


def _tolerations(rendering: Rendering) -> list[dict[str, Any]]:
    own: list[dict[str, Any]] = []
    if rendering.plan.gpus_per_pod:
        own = [{"key": GPU_RESOURCE, "operator": "Exists", "effect": "NoSchedule"}]
    return own + [msgspec.to_builtins(item) for item in rendering.spec.placement.tolerations]
