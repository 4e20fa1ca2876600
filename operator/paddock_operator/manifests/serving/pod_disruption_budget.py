"""A drained node takes one copy at a time."""

from paddock_operator.manifests.render import Rendering
from paddock_operator.ports import Manifest

ORDER = 7


def render(rendering: Rendering) -> Manifest:
    """One for a deployment of several copies. What may be missing is counted against the replicas of all controllers
    of its pods. Pods that are not ready may always be evicted: those that hang would keep their node for ever."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": rendering.metadata(),
        "spec": {
            "maxUnavailable": 1,
            "selector": {"matchLabels": rendering.selector},
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        },
    }
