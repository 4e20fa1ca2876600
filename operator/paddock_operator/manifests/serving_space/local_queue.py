"""Where Kueue is, the queue of deployments that name none."""

from paddock_core.resources import names

from paddock_operator.kinds import LOCAL_QUEUES
from paddock_operator.manifests.spaces import ServingSpace
from paddock_operator.ports import Manifest

ORDER = 2


def render(space: ServingSpace) -> list[Manifest]:
    """A LocalQueue in the newest version that the cluster has, where the platform names its ClusterQueue."""
    served = [kind for kind in LOCAL_QUEUES if kind in space.apis]
    if not served or not space.cluster_queue:
        return []
    queue = {
        "apiVersion": served[-1].api_version,
        "kind": served[-1].name,
        "metadata": {"name": names.QUEUE, "namespace": space.namespace, "labels": space.labels},
        "spec": {"clusterQueue": space.cluster_queue},
    }
    return [queue]
