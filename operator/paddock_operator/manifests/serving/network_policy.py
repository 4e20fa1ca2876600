"""Who may talk to the pods: gateways and the operator to inference, the platform to metrics. Nothing goes out."""

from typing import Any

from paddock_core.resources import names
from paddock_core.serving.contract import GRPC_PORT, HTTP_PORT, METRICS_PORT

from paddock_operator.manifests.render import Rendering
from paddock_operator.ports import Manifest

ORDER = 2


def render(rendering: Rendering) -> Manifest:
    """Ingress rules of the pods that answer; of a group, the other pods hear nobody but each other."""
    platform = _namespace(names.PLATFORM_NAMESPACE)
    callers = {
        **platform,
        "podSelector": {
            "matchExpressions": [
                {
                    "key": "app.kubernetes.io/name",
                    "operator": "In",
                    "values": ["paddock-gateway", "paddock-operator"],
                }
            ]
        },
    }
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": rendering.metadata(),
        "spec": {
            "podSelector": {"matchLabels": rendering.endpoints},
            "policyTypes": ["Ingress"],
            "ingress": [
                {"from": [callers], "ports": [_port(HTTP_PORT), _port(GRPC_PORT)]},
                {"from": [_namespace(rendering.config.monitoring_namespace)], "ports": [_port(METRICS_PORT)]},
            ],
        },
    }


def _namespace(name: str) -> dict[str, Any]:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


def _port(number: int) -> dict[str, Any]:
    return {"port": number, "protocol": "TCP"}
