"""An account without any right and without a token: the pods never talk to the API server."""

from paddock_core.resources import names

from paddock_operator.manifests import whole_namespace
from paddock_operator.manifests.render import Rendering
from paddock_operator.ports import Manifest

ORDER = 3


def render(rendering: Rendering) -> Manifest:
    """One for the whole namespace: what may do nothing need not be told apart."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": whole_namespace.metadata(rendering, names.SERVING_ACCOUNT),
        "automountServiceAccountToken": False,
    }
