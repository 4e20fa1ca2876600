"""What a serving namespace has once, for all deployments in it.

Rendered with each of them all the same: so it is there before the first pod is, and whoever's round comes first puts
it back.
"""

from typing import Any

from paddock_core.resources import names

from paddock_operator.manifests.render import Rendering


def metadata(rendering: Rendering, name: str) -> dict[str, Any]:
    """Metadata of such an object. It belongs to no deployment, so it carries no label of one."""
    labels = {
        names.MANAGED_BY: names.OPERATOR,
        names.PART_OF: names.PRODUCT,
        names.COMPONENT: names.SERVING,
        names.TENANT: rendering.tenant,
    }
    return {"name": name, "namespace": rendering.namespace, "labels": labels}
