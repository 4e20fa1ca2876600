"""Who may talk to the pods: gateways and the operator to inference, the platform to metrics. Nothing goes out."""

from typing import Any

from paddock_core.resources import names
from paddock_core.serving.contract import GRPC_PORT, HTTP_PORT, METRICS_PORT

from paddock_operator.manifests.render import Rendering
from paddock_operator.ports import Manifest

ORDER = 2


def render(rendering: Rendering) -> Manifest:
    """Ingress rules of the pods that answer; of a group, the other pods hear nobody but each other."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": rendering.metadata(),
        "spec": {
            "podSelector": {"matchLabels": rendering.endpoints},
            "policyTypes": ["Ingress"],
            "ingress": [
                {"from": [_platform("paddock-gateway", names.OPERATOR)], "ports": [_port(HTTP_PORT), _port(GRPC_PORT)]},
                {
                    # The operator scales by the use of the cache, which is told there.
                    "from": [_namespace(rendering.config.monitoring_namespace), _platform(names.OPERATOR)],
                    "ports": [_port(METRICS_PORT)],
                },
            ],
        },
    }


def _platform(*parts: str) -> dict[str, Any]:
    """Pods of these parts of the platform."""
    named = {"key": "app.kubernetes.io/name", "operator": "In", "values": list(parts)}
    return {**_namespace(names.PLATFORM_NAMESPACE), "podSelector": {"matchExpressions": [named]}}


def _namespace(name: str) -> dict[str, Any]:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


def _port(number: int) -> dict[str, Any]:
    return {"port": number, "protocol": "TCP"}
