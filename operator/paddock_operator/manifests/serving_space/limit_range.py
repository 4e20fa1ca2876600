"""What a container requests that says nothing: nothing in a serving namespace is placed as if it were free."""

from paddock_core.resources import names

from paddock_operator.manifests.spaces import ServingSpace
from paddock_operator.ports import Manifest

ORDER = 1


def render(space: ServingSpace) -> Manifest:
    """Requests alone: a limit that nobody chose would kill a server that needs more."""
    return {
        "apiVersion": "v1",
        "kind": "LimitRange",
        "metadata": {"name": names.PRODUCT, "namespace": space.namespace, "labels": space.labels},
        "spec": {"limits": [{"type": "Container", "defaultRequest": {"cpu": "100m", "memory": "128Mi"}}]},
    }
