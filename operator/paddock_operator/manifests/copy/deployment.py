"""A copy that fits one node: a Deployment of one replica, so that its controller heals it by itself."""

from paddock_core.resources import names

from paddock_operator.manifests import placement
from paddock_operator.manifests.render import COPY, Rendering
from paddock_operator.manifests.serving_pods import template
from paddock_operator.ports import Manifest

ORDER = 8


def render(rendering: Rendering) -> list[Manifest]:
    """The Deployment, unless a copy is a group of pods."""
    if rendering.spans_pods:
        return []
    metadata = rendering.copy_metadata()
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {**metadata, "labels": {**metadata["labels"], **placement.owner_labels(rendering)}},
        "spec": {
            "replicas": 1,
            "revisionHistoryLimit": 0,
            "selector": {"matchLabels": {**rendering.selector, names.COPY: COPY}},
            # Its template never changes: another rendering is another copy.
            "strategy": {"type": "Recreate"},
            "template": template(rendering),
        },
    }
    return [deployment]
