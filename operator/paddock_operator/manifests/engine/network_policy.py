"""Pods that compile engines call nobody, and nobody calls them: all they need is on the volume."""

from paddock_core.resources import names

from paddock_operator.manifests.render import EngineRendering
from paddock_operator.ports import Manifest

ORDER = 0


def render(rendering: EngineRendering) -> Manifest:
    """One for all engine Jobs."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {
            "name": "engines-alone",
            "namespace": names.WEIGHTS_NAMESPACE,
            "labels": {key: rendering.labels[key] for key in (names.MANAGED_BY, names.PART_OF)},
        },
        "spec": {
            "podSelector": {"matchLabels": {names.COMPONENT: names.ENGINE}},
            "policyTypes": ["Ingress", "Egress"],
        },
    }
