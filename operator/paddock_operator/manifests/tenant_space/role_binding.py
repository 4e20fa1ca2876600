"""The tenant's people may work with LlamaDeployments in their namespace, and with nothing else."""

from paddock_core.resources import names

from paddock_operator.manifests.spaces import TenantSpace
from paddock_operator.ports import Manifest

ORDER = 0


def render(space: TenantSpace) -> Manifest:
    """Bound to a group: who belongs to it is for the cluster's identity provider to say."""
    group = names.tenant_group(space.tenant)
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": names.TENANT_BINDING, "namespace": space.namespace, "labels": space.labels},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": names.TENANT_ROLE},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": group}],
    }
