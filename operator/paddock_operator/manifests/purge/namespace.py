"""The namespace of Jobs on the weights volume: the same as for fetching, in case it is not there."""

from paddock_operator.manifests.render import PurgeRendering
from paddock_operator.manifests.weights.namespace import manifest
from paddock_operator.ports import Manifest

ORDER = 0


def render(rendering: PurgeRendering) -> Manifest:
    """Shared by all Jobs."""
    return manifest(rendering.config.weights_volume)
