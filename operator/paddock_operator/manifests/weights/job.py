"""The Job that puts a model's weights on the volume, checked, and publishes its tokenizer."""

import json
from typing import Any

import msgspec

from paddock_operator.manifests.render import WeightsRendering
from paddock_operator.manifests.volume_work import Work, job, token_variable
from paddock_operator.manifests.weights.secret import TOKEN_KEY
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
            ],
            secrets=[
                token_variable(rendering, variable="PADDOCK_SERVING_DECISION_TOKEN", key=TOKEN_KEY),
                *_hub_token(rendering),
            ],
        ),
    )


def _hub_token(rendering: WeightsRendering) -> list[dict[str, Any]]:
    """The platform's own token goes to the hub alone, for what the catalogue names: where a registered model's files
    are fetched, and so what is read with the token, was chosen by whoever registered it."""
    secret, source = rendering.config.hub_token_secret, rendering.model.weights[rendering.precision].source
    if not secret or not rendering.catalogued or source.get("kind") != HUB:
        return []
    return [{"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": secret, "key": HUB_TOKEN_KEY}}}]
