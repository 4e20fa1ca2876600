"""Who may talk to pods that answer: gateways and the operator to inference, the platform to metrics. Nothing goes out.

Two for the whole namespace, since a selector cannot say "without this label, or with this value of it": of a group the
leader alone answers, the other pods hear nobody but each other.
"""

from typing import Any

from paddock_core.resources import names
from paddock_core.serving.contract import GRPC_PORT, HTTP_PORT, METRICS_PORT

from paddock_operator.manifests import whole_namespace
from paddock_operator.manifests.render import Rendering
from paddock_operator.ports import Manifest

ORDER = 2


def render(rendering: Rendering) -> list[Manifest]:
    """For pods that hold a whole copy, and for leaders of groups."""
    single = {"matchExpressions": [{"key": names.WORKER_INDEX, "operator": "DoesNotExist"}]}
    leaders = {"matchLabels": {names.WORKER_INDEX: names.LEADER_INDEX}}
    return [_policy(rendering, "callers", single), _policy(rendering, "callers-of-groups", leaders)]


def _policy(rendering: Rendering, name: str, which: dict[str, Any]) -> Manifest:
    labels = {names.MANAGED_BY: names.OPERATOR, names.COMPONENT: names.SERVING, **which.get("matchLabels", {})}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": whole_namespace.metadata(rendering, name),
        "spec": {
            "podSelector": {**which, "matchLabels": labels},
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
