"""A copy that fits one node: a ReplicaSet of one replica, so that its controller heals it by itself."""

from paddock_core.resources import names

from paddock_operator.manifests import placement
from paddock_operator.manifests.render import COPY, Rendering
from paddock_operator.manifests.serving_pods import template
from paddock_operator.ports import Manifest

ORDER = 8


def render(rendering: Rendering) -> list[Manifest]:
    """The ReplicaSet, unless a copy is a group of pods.

    Not a Deployment: the template of a copy never changes, so there is nothing that one could roll.
    """
    if rendering.spans_pods:
        return []
    pod = template(rendering)
    # Kueue knows no ReplicaSets: it admits their pods, each by its own label.
    labels = {**pod["metadata"]["labels"], **placement.owner_labels(rendering)}
    replica_set = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": rendering.copy_metadata(),
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {**rendering.selector, names.COPY: COPY}},
            "template": {**pod, "metadata": {**pod["metadata"], "labels": labels}},
        },
    }
    return [replica_set]
