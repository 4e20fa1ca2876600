"""Nothing in a serving namespace talks to anything, unless another policy allows it."""

from paddock_core.resources import names

from paddock_operator.manifests.render import Rendering
from paddock_operator.ports import Manifest

ORDER = 1


def render(rendering: Rendering) -> Manifest:
    """One for the whole namespace."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {
            "name": "default-deny",
            "namespace": rendering.namespace,
            "labels": {names.MANAGED_BY: names.OPERATOR, names.PART_OF: names.PRODUCT},
        },
        "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
    }
