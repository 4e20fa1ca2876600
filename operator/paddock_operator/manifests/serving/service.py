"""A headless Service: names the pods for monitoring and for people. Gateways go to pod addresses from the status."""

from paddock_core.serving.contract import GRPC_PORT, HTTP_PORT, METRICS_PORT

from paddock_operator.manifests.render import Rendering
from paddock_operator.ports import Manifest

ORDER = 6


def render(rendering: Rendering) -> Manifest:
    """One for each deployment; of a group it names the leader alone."""
    ports = (("http", HTTP_PORT), ("grpc", GRPC_PORT), ("metrics", METRICS_PORT))
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": rendering.metadata(),
        "spec": {
            "clusterIP": "None",
            "selector": rendering.endpoints,
            "ports": [{"name": name, "port": port, "protocol": "TCP", "targetPort": port} for name, port in ports],
        },
    }
