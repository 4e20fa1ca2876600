"""The namespace in which weights are fetched: the only one whose pods reach the outside."""

from paddock_core.resources import names

from paddock_operator.manifests.pods import namespace_security
from paddock_operator.manifests.render import WeightsRendering
from paddock_operator.ports import Manifest

ORDER = 0


def render(rendering: WeightsRendering) -> Manifest:
    """Shared by all weights Jobs."""
    return manifest(rendering.config.weights_volume)


def manifest(weights_volume: dict[str, object]) -> Manifest:
    """The namespace, by the volume that its pods mount."""
    labels = {
        names.MANAGED_BY: names.OPERATOR,
        names.PART_OF: names.PRODUCT,
        names.COMPONENT: names.WEIGHTS,
        **namespace_security(weights_volume),
    }
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": names.WEIGHTS_NAMESPACE, "labels": labels}}
