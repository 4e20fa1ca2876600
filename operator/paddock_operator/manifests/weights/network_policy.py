"""Weights pods may call out (control plane, hub); nobody may call them."""

from paddock_core.resources import names

from paddock_operator.manifests.render import WeightsRendering
from paddock_operator.ports import Manifest

ORDER = 1


def render(rendering: WeightsRendering) -> Manifest:
    """One for the whole namespace."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {
            "name": "no-ingress",
            "namespace": names.WEIGHTS_NAMESPACE,
            "labels": {key: rendering.labels[key] for key in (names.MANAGED_BY, names.PART_OF)},
        },
        "spec": {"podSelector": {}, "policyTypes": ["Ingress"]},
    }
