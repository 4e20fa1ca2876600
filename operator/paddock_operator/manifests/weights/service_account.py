"""An account without any right and without a token."""

from paddock_core.resources import names

from paddock_operator.manifests.render import WeightsRendering
from paddock_operator.ports import Manifest

ORDER = 2
NAME = "weights"


def render(rendering: WeightsRendering) -> Manifest:
    """Shared by all weights Jobs."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {
            "name": NAME,
            "namespace": names.WEIGHTS_NAMESPACE,
            "labels": {key: rendering.labels[key] for key in (names.MANAGED_BY, names.PART_OF)},
        },
        "automountServiceAccountToken": False,
    }
