"""The short-lived token by which the control plane knows that this Job carries out its order."""

import base64

from paddock_operator.manifests.render import PurgeRendering
from paddock_operator.ports import Manifest

ORDER = 3
TOKEN_KEY = "purge-token"  # noqa: S105 - a key's name


def render(rendering: PurgeRendering) -> Manifest:
    """Replaced each time that the Job is started."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": rendering.metadata(),
        "type": "Opaque",
        "data": {TOKEN_KEY: base64.b64encode(rendering.token.encode()).decode()},
    }
