"""The Job that puts a model's weights on the volume, checked, and publishes its tokenizer."""

import json
from typing import Any

import msgspec

from paddock_operator.manifests.render import WeightsRendering
from paddock_operator.manifests.volume_work import Mount, Work, job, token_variable
from paddock_operator.manifests.weights.secret import TOKEN_KEY
from paddock_operator.ports import Manifest

ORDER = 4
DOWNLOAD_BYTES_PER_SECOND = 8 * 1024**2
"""Slowest line that a download is given time for."""
LEAST_SECONDS = 1800
MEMORY_BYTES = 1024**3
HUB = "huggingface"
CLAIM = "pvc"
CREDENTIALS = {
    HUB: {"HF_TOKEN": "token"},
    "s3": {
        "PADDOCK_SERVING_S3_ACCESS_KEY_ID": "access-key-id",
        "PADDOCK_SERVING_S3_SECRET_ACCESS_KEY": "secret-access-key",
        "PADDOCK_SERVING_S3_SESSION_TOKEN": "session-token",
    },
    "oci": {"PADDOCK_SERVING_OCI_USERNAME": "username", "PADDOCK_SERVING_OCI_PASSWORD": "password"},
}
"""Kind of source to what its Job is told, and the key of the Secret that has it."""


def render(rendering: WeightsRendering) -> Manifest:
    """The Job. It is given time by the size of what it fetches."""
    model = rendering.model
    weights = model.weights[rendering.precision]
    return job(
        rendering,
        Work(
            container="prepare",
            command="prepare-weights",
            tries=2,
            deadline_seconds=LEAST_SECONDS + weights.bytes // DOWNLOAD_BYTES_PER_SECOND,
            memory_bytes=MEMORY_BYTES,
            environment=[
                {"name": "PADDOCK_SERVING_MODEL", "value": model.id},
                {"name": "PADDOCK_SERVING_PRECISION", "value": rendering.precision},
                {"name": "PADDOCK_SERVING_CHECKPOINT", "value": msgspec.json.encode(weights).decode()},
                {"name": "PADDOCK_SERVING_DIMENSIONS", "value": msgspec.json.encode(model.dimensions).decode()},
                {"name": "PADDOCK_SERVING_PARAMETERS", "value": str(model.parameters)},
                {"name": "PADDOCK_SERVING_LICENSES", "value": json.dumps(list(rendering.licenses))},
                *_hub(rendering),
                {
                    "name": "PADDOCK_SERVING_BIND",
                    "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "status.podIP"}},
                },
            ],
            secrets=[
                token_variable(rendering, variable="PADDOCK_SERVING_DECISION_TOKEN", key=TOKEN_KEY),
                *_credentials(rendering),
            ],
            mounts=_claim(weights.source),
        ),
    )


def _hub(rendering: WeightsRendering) -> list[dict[str, Any]]:
    url = rendering.config.hub_url
    return [{"name": "PADDOCK_SERVING_HUB_URL", "value": url}] if url else []


def _credentials(rendering: WeightsRendering) -> list[dict[str, Any]]:
    """What the source's kind asks for, out of the Secret of whoever chose the source: the platform's for the catalogue
    and what the platform registered, a tenant's own for what that tenant registered. So nothing is read with the
    platform's rights that somebody else named.

    The hub's token is for models of the catalogue alone: it is an account's, to which publishers gave access for these.
    """
    kind = rendering.model.weights[rendering.precision].source.get("kind", "")
    config = rendering.config
    if rendering.owner:
        secret = f"source-of-{rendering.owner}"
    elif kind == HUB:
        secret = config.hub_token_secret if rendering.catalogued else ""
    else:
        secret = config.source_secret
    if not secret:
        return []
    # A token that the platform configured must be there; everything else may be open to everybody.
    optional = {} if kind == HUB and not rendering.owner else {"optional": True}
    return [
        {"name": variable, "valueFrom": {"secretKeyRef": {"name": secret, "key": key, **optional}}}
        for variable, key in CREDENTIALS.get(kind, {}).items()
    ]


def _claim(source: dict[str, str]) -> tuple[Mount, ...]:
    """The other claim that files are copied from."""
    if source.get("kind") != CLAIM:
        return ()
    volume = {"persistentVolumeClaim": {"claimName": source["claim"], "readOnly": True}}
    return (Mount(name="source", path="/source", volume=volume),)
