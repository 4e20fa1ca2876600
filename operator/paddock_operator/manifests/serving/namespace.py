"""The tenant's serving namespace: the platform's, not the tenant's."""

from paddock_core.resources import names

from paddock_operator.manifests.pods import namespace_security
from paddock_operator.manifests.render import Rendering
from paddock_operator.ports import Manifest

ORDER = 0


def render(rendering: Rendering) -> Manifest:
    """Shared by all of the tenant's deployments, so it carries no label of one of them."""
    keeps = any(network.capabilities for network in rendering.config.networks)
    labels = {
        names.MANAGED_BY: names.OPERATOR,
        names.PART_OF: names.PRODUCT,
        names.COMPONENT: names.SERVING,
        names.TENANT: rendering.tenant,
        **namespace_security(rendering.config.weights_volume, capabilities=keeps),
    }
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": rendering.namespace, "labels": labels}}
