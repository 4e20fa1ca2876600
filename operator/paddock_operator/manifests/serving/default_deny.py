"""Nothing in a serving namespace talks to anything, unless another policy allows it."""

from paddock_operator.manifests import whole_namespace
from paddock_operator.manifests.render import Rendering
from paddock_operator.ports import Manifest

ORDER = 1


def render(rendering: Rendering) -> Manifest:
    """One for the whole namespace."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": whole_namespace.metadata(rendering, "default-deny"),
        "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
    }
