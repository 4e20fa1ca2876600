"""An account without any right and without a token."""

from paddock_core.resources import names

from paddock_operator.manifests.render import WeightsRendering
from paddock_operator.ports import Manifest

ORDER = 2
NAME = "weights"


def render(rendering: WeightsRendering) -> Manifest:  # noqa: ARG001 - every manifest module answers the same call
    """Shared by all weights Jobs."""
    return manifest()


def manifest() -> Manifest:
    """The account."""
    labels = {names.MANAGED_BY: names.OPERATOR, names.PART_OF: names.PRODUCT}
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": NAME, "namespace": names.WEIGHTS_NAMESPACE, "labels": labels},
        "automountServiceAccountToken": False,
    }
