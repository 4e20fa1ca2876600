"""The Job that puts a model's weights on the volume, checked, and publishes its tokenizer."""

import json
from typing import Any

import msgspec

from paddock_operator.manifests import pods
from paddock_operator.manifests.render import WeightsRendering
from paddock_operator.manifests.weights.secret import TOKEN_KEY
from paddock_operator.manifests.weights.service_account import NAME
from paddock_operator.ports import Manifest

ORDER = 4
DOWNLOAD_BYTES_PER_SECOND = 8 * 1024**2
"""Slowest line that a download is given time for."""
LEAST_SECONDS = 1800
MEMORY_BYTES = 1024**3
HUB = "huggingface"
"""The kind of source that HF_TOKEN is for."""
HUB_TOKEN_KEY = "token"  # noqa: S105 - a key's name


def render(rendering: WeightsRendering) -> Manifest:
    """The Job. Its template never changes while it exists: it is deleted and created again instead."""
    size = rendering.model.weights[rendering.precision].bytes
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": rendering.metadata(),
        "spec": {
            "backoffLimit": 2,
            "activeDeadlineSeconds": LEAST_SECONDS + size // DOWNLOAD_BYTES_PER_SECOND,
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


def _container(rendering: WeightsRendering) -> dict[str, Any]:
    model = rendering.model
    checkpoint = msgspec.json.encode(model.weights[rendering.precision]).decode()
    token = {"secretKeyRef": {"name": rendering.name, "key": TOKEN_KEY}}
    return {
        "name": "prepare",
        "image": rendering.config.serving_image,
        "imagePullPolicy": rendering.config.image_pull_policy,
        "args": ["prepare-weights"],
        "env": [
            {"name": "PADDOCK_SERVING_MODEL", "value": model.id},
            {"name": "PADDOCK_SERVING_PRECISION", "value": rendering.precision},
            {"name": "PADDOCK_SERVING_CHECKPOINT", "value": checkpoint},
            {"name": "PADDOCK_SERVING_DIMENSIONS", "value": msgspec.json.encode(model.dimensions).decode()},
            {"name": "PADDOCK_SERVING_PARAMETERS", "value": str(model.parameters)},
            {"name": "PADDOCK_SERVING_LICENSES", "value": json.dumps(list(rendering.licenses))},
            {"name": "PADDOCK_SERVING_WEIGHTS_DIR", "value": "/weights"},
            {"name": "PADDOCK_SERVING_CONTROLPLANE_URL", "value": rendering.config.serving_controlplane_url},
            {"name": "PADDOCK_SERVING_DECISION_TOKEN", "valueFrom": token},
            *_hub_token(rendering),
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


def _hub_token(rendering: WeightsRendering) -> list[dict[str, Any]]:
    """The platform's own token goes to the hub alone, for what the catalogue names: where a registered model's files
    are fetched, and so what is read with the token, was chosen by whoever registered it."""
    secret, source = rendering.config.hub_token_secret, rendering.model.weights[rendering.precision].source
    if not secret or not rendering.catalogued or source.get("kind") != HUB:
        return []
    return [{"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": secret, "key": HUB_TOKEN_KEY}}}]
