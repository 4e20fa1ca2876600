"""Weights pods may call out (control plane, sources); the operator alone may ask them how far they are."""

from paddock_core.resources import names
from paddock_core.serving.contract import PROGRESS_PORT

from paddock_operator.manifests.render import WeightsRendering
from paddock_operator.ports import Manifest

ORDER = 1


def render(rendering: WeightsRendering) -> Manifest:
    """One for the whole namespace."""
    operator = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": names.PLATFORM_NAMESPACE}},
        "podSelector": {"matchLabels": {"app.kubernetes.io/name": "paddock-operator"}},
    }
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {
            "name": "weights",
            "namespace": names.WEIGHTS_NAMESPACE,
            "labels": {key: rendering.labels[key] for key in (names.MANAGED_BY, names.PART_OF)},
        },
        "spec": {
            "podSelector": {},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": [operator], "ports": [{"port": PROGRESS_PORT, "protocol": "TCP"}]}],
        },
    }
