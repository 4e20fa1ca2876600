"""The pods of a deployment whose copies each fit one node."""

from paddock_operator.manifests import placement
from paddock_operator.manifests.render import Rendering
from paddock_operator.manifests.serving_pods import template
from paddock_operator.ports import Manifest

ORDER = 8


def render(rendering: Rendering) -> list[Manifest]:
    """The Deployment, unless a copy is a group of pods."""
    if rendering.spans_pods:
        return []
    on_gpu = rendering.plan.gpus_per_pod > 0
    metadata = rendering.metadata()
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {**metadata, "labels": {**metadata["labels"], **placement.owner_labels(rendering)}},
        "spec": {
            "replicas": rendering.spec.replicas,
            "revisionHistoryLimit": 2,
            "selector": {"matchLabels": rendering.selector},
            # GPUs for one more copy are rarely free: there the old copy goes before the new one comes.
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}
                if on_gpu
                else {"maxSurge": 1, "maxUnavailable": 0},
            },
            "template": template(rendering),
        },
    }
    return [deployment]
