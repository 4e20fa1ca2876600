"""The backstop behind the ledger of GPUs, and bounds for what no deployment of ours asks for."""

from paddock_core.resources import names

from paddock_operator.manifests.spaces import ServingSpace
from paddock_operator.ports import Manifest

ORDER = 0


def render(space: ServingSpace) -> Manifest:
    """GPUs, parts of them and devices of each class, since a ResourceQuota adds nothing up; nothing may be reached from
    outside."""
    counted = [f"requests.{resource}" for resource in space.resources]
    counted += [f"{name}.deviceclass.resource.k8s.io/devices" for name in space.classes]
    devices = dict.fromkeys(counted, quantity(space.gpus))
    return {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": names.PRODUCT, "namespace": space.namespace, "labels": space.labels},
        "spec": {
            "hard": {**devices, "pods": quantity(space.pods), "services.loadbalancers": "0", "services.nodeports": "0"}
        },
    }


def quantity(count: int) -> str:
    """As the API server writes it back, so that what was applied is recognised."""
    for suffix in ("", "k", "M"):
        if count == 0 or count % 1000:
            return f"{count}{suffix}"
        count //= 1000
    return f"{count}G"
