"""The Job that removes every copy of a model's files from the volume, and tells the control plane their digests."""

import json
from typing import Any

from paddock_operator.manifests import pods
from paddock_operator.manifests.purge.secret import TOKEN_KEY
from paddock_operator.manifests.render import PurgeRendering
from paddock_operator.manifests.weights.service_account import NAME
from paddock_operator.ports import Manifest

ORDER = 4
DEADLINE_SECONDS = 6 * 3600
"""Parts of an interrupted download have no digest yet: they are read once."""
MEMORY_BYTES = 512 * 1024**2


def render(rendering: PurgeRendering) -> Manifest:
    """The Job. It is deleted and created again where it failed."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": rendering.metadata(),
        "spec": {
            "backoffLimit": 4,
            "activeDeadlineSeconds": DEADLINE_SECONDS,
            "template": {
                "metadata": {"labels": rendering.labels},
                "spec": {
                    "restartPolicy": "Never",
                    "serviceAccountName": NAME,
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "securityContext": pods.pod_security(),
                    "containers": [_container(rendering)],
                    "volumes": [
                        {"name": "weights", **rendering.config.weights_volume},
                        {"name": "tmp", "emptyDir": {}},
                    ],
                },
            },
        },
    }


def _container(rendering: PurgeRendering) -> dict[str, Any]:
    order = rendering.order
    token = {"secretKeyRef": {"name": rendering.name, "key": TOKEN_KEY}}
    return {
        "name": "purge",
        "image": rendering.config.serving_image,
        "imagePullPolicy": rendering.config.image_pull_policy,
        "args": ["purge-weights"],
        "env": [
            {"name": "PADDOCK_SERVING_PURGE", "value": order.id},
            {"name": "PADDOCK_SERVING_MODEL", "value": order.model},
            {"name": "PADDOCK_SERVING_DIGESTS", "value": json.dumps(list(order.weights))},
            {"name": "PADDOCK_SERVING_IMPORTS", "value": json.dumps(order.why == "operator")},
            {"name": "PADDOCK_SERVING_WEIGHTS_DIR", "value": "/weights"},
            {"name": "PADDOCK_SERVING_CONTROLPLANE_URL", "value": rendering.config.serving_controlplane_url},
            {"name": "PADDOCK_SERVING_PURGE_TOKEN", "valueFrom": token},
        ],
        "resources": {
            "requests": {"cpu": "100m", "memory": pods.memory(MEMORY_BYTES // 4)},
            "limits": {"memory": pods.memory(MEMORY_BYTES)},
        },
        "securityContext": pods.container_security(),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "weights", "mountPath": "/weights"},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - a path inside the container
        ],
    }
