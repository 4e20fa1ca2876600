"""What every Job that works on the weights volume has in common: its frame, and the Secret with its token."""

import base64
from dataclasses import dataclass
from typing import Any

from paddock_core.serving.contract import NOT_AT_ONCE

from paddock_operator.manifests import pods
from paddock_operator.manifests.render import PurgeRendering, WeightsRendering
from paddock_operator.manifests.weights.service_account import NAME
from paddock_operator.ports import Manifest

Rendering = WeightsRendering | PurgeRendering


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A volume that the Job reads, beside the weights."""

    name: str
    path: str
    volume: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What one such Job does."""

    container: str
    command: str
    """A command of `paddock-serving`."""
    tries: int
    """How often it is tried again by itself."""
    deadline_seconds: int
    memory_bytes: int
    environment: list[dict[str, Any]]
    """Its own variables, beside the volume's folder and the control plane's address."""
    secrets: list[dict[str, Any]]
    """Variables that come from Secrets."""
    mounts: tuple[Mount, ...] = ()


def token_variable(rendering: Rendering, *, variable: str, key: str) -> dict[str, Any]:
    """The variable that holds the token of `token_secret`."""
    return {"name": variable, "valueFrom": {"secretKeyRef": {"name": rendering.name, "key": key}}}


def token_secret(rendering: Rendering, *, key: str) -> Manifest:
    """The Secret with the Job's token. Replaced each time that the Job is started."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": rendering.metadata(),
        "type": "Opaque",
        "data": {key: base64.b64encode(rendering.token.encode()).decode()},
    }


def job(rendering: Rendering, work: Work) -> Manifest:
    """The Job. Its template never changes while it exists: it is deleted and created again instead."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": rendering.metadata(),
        "spec": {
            "backoffLimit": work.tries,
            "activeDeadlineSeconds": work.deadline_seconds,
            "podFailurePolicy": {"rules": _rules(work)},
            "template": {
                "metadata": {"labels": rendering.labels},
                "spec": {
                    "restartPolicy": "Never",
                    "serviceAccountName": NAME,
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "securityContext": pods.pod_security(),
                    "containers": [_container(rendering, work)],
                    "volumes": [
                        {"name": "weights", **rendering.config.weights_volume},
                        {"name": "tmp", "emptyDir": {}},
                        *({"name": mount.name, **mount.volume} for mount in work.mounts),
                    ],
                },
            },
        },
    }


def _rules(work: Work) -> list[dict[str, Any]]:
    """A pod whose node was taken away is no try; one that says that trying at once is no use is the last one."""
    final = {"containerName": work.container, "operator": "In", "values": [NOT_AT_ONCE]}
    return [
        {"action": "FailJob", "onExitCodes": final},
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
    ]


def _container(rendering: Rendering, work: Work) -> dict[str, Any]:
    return {
        "name": work.container,
        "image": rendering.config.serving_image,
        "imagePullPolicy": rendering.config.image_pull_policy,
        "args": [work.command],
        "env": [
            *work.environment,
            {"name": "PADDOCK_SERVING_WEIGHTS_DIR", "value": "/weights"},
            {"name": "PADDOCK_SERVING_CONTROLPLANE_URL", "value": rendering.config.serving_controlplane_url},
            *work.secrets,
        ],
        "resources": {
            "requests": {"cpu": "100m", "memory": pods.memory(work.memory_bytes // 4)},
            "limits": {"memory": pods.memory(work.memory_bytes)},
        },
        "securityContext": pods.container_security(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "weights", "mountPath": "/weights"},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a path inside the container
            *({"name": mount.name, "mountPath": mount.path, "readOnly": True} for mount in work.mounts),
        ],
    }
