"""The account of Jobs on the weights volume, without any right: the same as for fetching."""

from paddock_operator.manifests.render import PurgeRendering
from paddock_operator.manifests.weights.service_account import manifest
from paddock_operator.ports import Manifest

ORDER = 2


def render(rendering: PurgeRendering) -> Manifest:  # noqa: ARG001 - every manifest module answers the same call
    """Shared by all Jobs."""
    return manifest()
