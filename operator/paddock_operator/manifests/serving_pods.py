"""The pods that serve: one that holds a whole copy, or the leader and the workers of a group."""

from typing import Any

from paddock_core.resources import names
from paddock_core.serving.contract import GRPC_PORT, HTTP_PORT, METRICS_PORT

from paddock_operator.manifests import placement, pods
from paddock_operator.manifests.render import REVISION_OBJECT, Rendering, digest_of
from paddock_operator.manifests.repository import files, key_of
from paddock_operator.manifests.serving.secret import KEY_FILES, SECRET_KEY

TRITON, WORKER = "triton", "worker"
"""Containers of a pod that answers, and of one that helps it."""
GRACE_SECONDS = 90
"""Triton is given 60 s to end running requests; the rest is for the engine to close."""
LOAD_BYTES_PER_SECOND = 256 * 1024**2
"""Slowest storage that start-up is given time for."""
START_SECONDS = 60
JOIN_SECONDS = 600
"""How much longer a leader may take: its workers pull the image too, each at its own pace."""
SMALL_MODEL_BYTES = 4 * 1024**3
SHARED_MEMORY_BYTES = 1024**3
"""Shared memory for Triton's Python backend; GPU engines get more, for their workers."""
SHARED_MEMORY_BYTES_PER_GPU = 8 * 1024**3
GROUP_PORT = 2233
"""Where sshd of a worker listens: no privilege is needed for it."""
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
"""All that a server needs is on the volume: its libraries do not look for more of it, and fail soon where it is not."""
KEYS = "/keys"
KEYS_MODE = 0o440
"""The files belong to root, so ssh does not ask that nobody else may read them; the pod's user may by its group."""
ENGINE_LABEL = "llm-d.ai/engine-type"
ENGINE = "triton-tensorrt-llm"
"""What endpoint pickers of the InferencePool API know this engine's metrics by."""


def template(rendering: Rendering, *, worker: bool = False) -> dict[str, Any]:
    """A pod template: of a whole copy, or of one of the pods of a group."""
    labels = rendering.copy_labels
    # Pods know the secret from their start: with another one they are other pods.
    annotations = {names.RENDERING: digest_of(rendering.secret), **placement.pod_annotations(rendering)}
    if rendering.plan.gpus_per_pod:
        labels[ENGINE_LABEL] = ENGINE
        annotations[names.GPUS] = str(rendering.plan.gpus_per_pod)
    return {
        "metadata": {"labels": labels, "annotations": annotations},
        "spec": {
            "serviceAccountName": names.SERVING_ACCOUNT,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": GRACE_SECONDS,
            "securityContext": pods.pod_security(),
            **placement.of_pod(rendering),
            "containers": [_worker(rendering) if worker else _server(rendering)],
            "volumes": _volumes(rendering),
        },
    }


def _server(rendering: Rendering) -> dict[str, Any]:
    secret = {"secretKeyRef": {"name": rendering.name, "key": SECRET_KEY}}
    return {
        "name": TRITON,
        **_container(rendering, command="serve"),
        "env": [{"name": "PADDOCK_SERVING_TRITON_SECRET", "valueFrom": secret}, *_environment(rendering)],
        "ports": [_port("http", HTTP_PORT), _port("grpc", GRPC_PORT), _port("metrics", METRICS_PORT)],
        **_probes(rendering),
    }


def _worker(rendering: Rendering) -> dict[str, Any]:
    """It is started from the leader: whether it listens is all that can be asked of it."""
    return {
        "name": WORKER,
        **_container(rendering, command="serve-worker"),
        "env": _environment(rendering),
        "ports": [_port("ssh", GROUP_PORT)],
        "readinessProbe": {"tcpSocket": {"port": GROUP_PORT}, "periodSeconds": 5, "timeoutSeconds": 5},
    }


def _container(rendering: Rendering, *, command: str) -> dict[str, Any]:
    keep = rendering.network.capabilities if rendering.spans_pods else ()
    return {
        "image": rendering.image,
        "imagePullPolicy": rendering.config.image_pull_policy,
        "args": [command],
        "resources": _resources(rendering),
        "securityContext": pods.container_security(keep=keep),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": _mounts(rendering),
    }


def _port(name: str, number: int) -> dict[str, Any]:
    return {"name": name, "containerPort": number, "protocol": "TCP"}


def _environment(rendering: Rendering) -> list[dict[str, Any]]:
    address = {"fieldRef": {"apiVersion": "v1", "fieldPath": "status.podIP"}}
    values = dict(OFFLINE)
    if rendering.spans_pods:
        values |= {
            "PADDOCK_SERVING_GROUP_PORT": str(GROUP_PORT),
            "PADDOCK_SERVING_GROUP_KEYS": KEYS,
            "PADDOCK_SERVING_GPUS_PER_POD": str(rendering.plan.gpus_per_pod),
            **rendering.network.environment,
        }
    made: list[dict[str, Any]] = [{"name": "PADDOCK_SERVING_BIND", "valueFrom": address}]
    return made + [{"name": name, "value": value} for name, value in sorted(values.items())]


def _resources(rendering: Rendering) -> dict[str, Any]:
    plan = rendering.plan
    requests = {"cpu": pods.cpu(plan.cpu_millicores), "memory": pods.memory(plan.memory_bytes)}
    # What lies in shared memory counts against the limit too; a CPU engine uses next to none of it.
    limits = {"memory": pods.memory(plan.memory_bytes + SHARED_MEMORY_BYTES_PER_GPU * plan.gpus_per_pod)}
    devices = dict(rendering.network.resources) if rendering.spans_pods else {}
    claims = placement.claims_devices(rendering)
    if plan.gpus_per_pod and not claims:
        devices[plan.resource] = plan.gpus_per_pod
    for name, count in devices.items():
        requests[name] = limits[name] = str(count)
    claimed = {"claims": [{"name": placement.CLAIM}]} if claims else {}
    return {"requests": requests, "limits": limits, **claimed}


def _probes(rendering: Rendering) -> dict[str, Any]:
    """Start-up may take as long as the weights are large; Triton opens its port only when the model is loaded."""
    period = 1 if rendering.plan.weights_bytes < SMALL_MODEL_BYTES else 10
    budget = START_SECONDS + rendering.plan.weights_bytes // LOAD_BYTES_PER_SECOND
    if rendering.spans_pods:
        budget += JOIN_SECONDS
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


def _mounts(rendering: Rendering) -> list[dict[str, Any]]:
    keys = [{"name": "keys", "mountPath": KEYS, "readOnly": True}] if rendering.spans_pods else []
    return [
        {"name": "models", "mountPath": "/models", "readOnly": True},
        {"name": "weights", "mountPath": "/weights", "readOnly": True},
        {"name": "scratch", "mountPath": "/scratch"},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a path inside the container
        {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108
        *keys,
    ]


def _volumes(rendering: Rendering) -> list[dict[str, Any]]:
    gpus = rendering.plan.gpus_per_pod
    shared = SHARED_MEMORY_BYTES_PER_GPU * gpus or SHARED_MEMORY_BYTES
    items = [{"key": key_of(path), "path": path} for path in files(rendering)]
    key_items = [{"key": key, "path": path} for key, path in KEY_FILES.items()]
    keys = {"secretName": rendering.name, "items": key_items, "defaultMode": KEYS_MODE}
    return [
        {"name": "models", "configMap": {"name": REVISION_OBJECT, "items": items}},
        {"name": "weights", **rendering.config.weights_volume},
        {"name": "scratch", "emptyDir": {}},
        {"name": "tmp", "emptyDir": {}},
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": pods.memory(shared)}},
        *([{"name": "keys", "secret": keys}] if rendering.spans_pods else []),
    ]
