"""The secret that this deployment's Triton demands of its callers."""

import base64

from paddock_operator.manifests.render import Rendering
from paddock_operator.ports import Manifest

ORDER = 4
SECRET_KEY = "triton-secret"  # noqa: S105 - a key's name


def render(rendering: Rendering) -> Manifest:
    """`data`, not `stringData`: the latter is turned into the former and would never compare equal."""
    encoded = base64.b64encode(rendering.secret.encode()).decode()
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": rendering.metadata(),
        "type": "Opaque",
        "data": {SECRET_KEY: encoded},
    }
