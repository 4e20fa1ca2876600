"""What Prometheus Operator reads metrics from, where the cluster has it."""

from paddock_core.resources import names

from paddock_operator.kinds import POD_MONITOR
from paddock_operator.manifests.render import Rendering
from paddock_operator.ports import Manifest

ORDER = 9


def render(rendering: Rendering) -> list[Manifest]:
    """One for the deployment: the pods that answer."""
    if POD_MONITOR not in rendering.apis:
        return []
    monitor = {
        "apiVersion": POD_MONITOR.api_version,
        "kind": POD_MONITOR.name,
        "metadata": rendering.metadata(),
        "spec": {
            "selector": {"matchLabels": rendering.endpoints},
            # In a serving namespace lie deployments of several namespaces, and names begin alike.
            "podTargetLabels": [names.DEPLOYMENT_NAMESPACE, names.DEPLOYMENT_NAME],
            "podMetricsEndpoints": [{"port": "metrics", "path": "/metrics"}],
        },
    }
    return [monitor]
