"""An account without any right and without a token: the pods never talk to the API server."""

from paddock_operator.manifests.render import Rendering
from paddock_operator.ports import Manifest

ORDER = 3


def render(rendering: Rendering) -> Manifest:
    """One for each deployment."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": rendering.metadata(),
        "automountServiceAccountToken": False,
    }
