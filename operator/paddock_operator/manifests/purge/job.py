"""The Job that removes every copy of a model's files from the volume, and tells the control plane their digests."""

import json

from paddock_operator.manifests.purge.secret import TOKEN_KEY
from paddock_operator.manifests.render import PurgeRendering
from paddock_operator.manifests.volume_work import Work, job, token_variable
from paddock_operator.ports import Manifest

ORDER = 4
DEADLINE_SECONDS = 6 * 3600
"""Parts of an interrupted download have no digest yet: they are read once."""
MEMORY_BYTES = 512 * 1024**2


def render(rendering: PurgeRendering) -> Manifest:
    """The Job. It is deleted and created again where it failed."""
    order = rendering.order
    return job(
        rendering,
        Work(
            container="purge",
            command="purge-weights",
            tries=4,
            deadline_seconds=DEADLINE_SECONDS,
            memory_bytes=MEMORY_BYTES,
            environment=[
                {"name": "PADDOCK_SERVING_PURGE", "value": order.id},
                {"name": "PADDOCK_SERVING_MODEL", "value": order.model},
                {"name": "PADDOCK_SERVING_DIGESTS", "value": json.dumps(list(order.weights))},
                {"name": "PADDOCK_SERVING_IMPORTS", "value": json.dumps(order.why == "operator")},
            ],
            secrets=[token_variable(rendering, variable="PADDOCK_SERVING_PURGE_TOKEN", key=TOKEN_KEY)],
        ),
    )
