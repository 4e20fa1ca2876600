"""A copy that spans several nodes: a LeaderWorkerSet of one group.

Not one of many groups: so a copy can be replaced, paused or taken away without touching the others.
"""

from paddock_operator.manifests import placement
from paddock_operator.manifests.render import Rendering
from paddock_operator.manifests.serving_pods import template
from paddock_operator.ports import Manifest

ORDER = 8


def render(rendering: Rendering) -> list[Manifest]:
    """The LeaderWorkerSet, where a copy is a group of pods."""
    if not rendering.spans_pods:
        return []
    metadata = rendering.copy_metadata()
    group = {
        "apiVersion": "leaderworkerset.x-k8s.io/v1",
        "kind": "LeaderWorkerSet",
        "metadata": {
            **metadata,
            "labels": {**metadata["labels"], **placement.owner_labels(rendering)},
            "annotations": placement.group_annotations(rendering),
        },
        "spec": {
            "replicas": 1,
            # The leader waits for its workers: they must not wait for it.
            "startupPolicy": "LeaderCreated",
            "networkConfig": {"subdomainPolicy": "UniquePerReplica"},
            "leaderWorkerTemplate": {
                "size": rendering.plan.pods_per_group,
                # MPI cannot heal, so a lost pod costs the group; not while it still comes up, for slow pulls.
                "restartPolicy": "RecreateGroupAfterStart",
                "leaderTemplate": template(rendering),
                "workerTemplate": template(rendering, worker=True),
            },
        },
    }
    return [group]
