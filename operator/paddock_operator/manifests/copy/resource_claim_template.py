"""GPUs through dynamic resource allocation: each pod claims its own from a device class."""

from paddock_operator.kinds import RESOURCE_CLAIM_TEMPLATE
from paddock_operator.manifests import placement
from paddock_operator.manifests.render import Rendering
from paddock_operator.ports import Manifest

ORDER = 7


def render(rendering: Rendering) -> list[Manifest]:
    """One for the deployment where it names a device class."""
    if not placement.claims_devices(rendering):
        return []
    exactly = {
        "deviceClassName": rendering.plan.device_class,
        "allocationMode": "ExactCount",
        "count": rendering.plan.gpus_per_pod,
    }
    template = {
        "apiVersion": RESOURCE_CLAIM_TEMPLATE.api_version,
        "kind": RESOURCE_CLAIM_TEMPLATE.name,
        "metadata": {**rendering.metadata(), "name": placement.claim_template_name(rendering)},
        "spec": {"spec": {"devices": {"requests": [{"name": placement.CLAIM, "exactly": exactly}]}}},
    }
    return [template]
