"""Where pods run: what every pod of a deployment gets alike, be it a copy of its own or one of a group."""

from typing import Any

import msgspec
from paddock_core.planning.gpus import GPU_RESOURCE, PRODUCT_LABEL
from paddock_core.resources import names

from paddock_operator.kinds import POD_GROUP
from paddock_operator.manifests.render import Rendering, digest_of

VOLCANO = "volcano"
VOLCANO_QUEUE = "scheduling.volcano.sh/queue-name"
VOLCANO_GROUP = "scheduling.k8s.io/group-name"
KUEUE_QUEUE = "kueue.x-k8s.io/queue-name"
EXCLUSIVE_TOPOLOGY = "leaderworkerset.sigs.k8s.io/exclusive-topology"
CLAIM = "gpus"
"""Name of the claim inside a pod."""


def of_pod(rendering: Rendering, *, group: str | None = None) -> dict[str, Any]:
    """The part of a pod's specification that says where it runs."""
    placement = rendering.spec.placement
    made: dict[str, Any] = {
        "nodeSelector": placement.node_selector,
        "tolerations": _tolerations(rendering),
    }
    affinity = {**_node_affinity(rendering), **_group_affinity(rendering, group)}
    if affinity:
        made["affinity"] = affinity
    if placement.scheduler_name is not None:
        made["schedulerName"] = placement.scheduler_name
    if placement.priority_class_name is not None:
        made["priorityClassName"] = placement.priority_class_name
    if claims_devices(rendering):
        made["resourceClaims"] = [{"name": CLAIM, "resourceClaimTemplateName": claim_template_name(rendering)}]
    return made


def pod_annotations(rendering: Rendering, *, group: str | None = None) -> dict[str, str]:
    """Annotations by which Volcano puts the pods of a group into its gang, and any pod into its queue."""
    if by_volcano(rendering) and group is not None and POD_GROUP in rendering.apis:
        return {VOLCANO_GROUP: group}
    if by_volcano(rendering) and rendering.spec.placement.queue is not None:
        return {VOLCANO_QUEUE: rendering.spec.placement.queue}
    return {}


def owner_labels(rendering: Rendering) -> dict[str, str]:
    """Labels of the object that owns the pods: by them Kueue admits all its pods, or none."""
    queue = rendering.spec.placement.queue
    return {} if queue is None or by_volcano(rendering) else {KUEUE_QUEUE: queue}


def group_annotations(rendering: Rendering) -> dict[str, str]:
    """Annotations of a group: its controller then lets no other group into the same domain."""
    placement = rendering.spec.placement
    if placement.topology_key is None or not placement.exclusive_topology:
        return {}
    return {EXCLUSIVE_TOPOLOGY: placement.topology_key}


def by_volcano(rendering: Rendering) -> bool:
    """True if Volcano schedules the pods."""
    return rendering.spec.placement.scheduler_name == VOLCANO


def claims_devices(rendering: Rendering) -> bool:
    """True if the GPUs are claimed from a device class instead of counted as a resource."""
    return rendering.plan.device_class is not None and rendering.plan.gpus_per_pod > 0


def claim_template_name(rendering: Rendering) -> str:
    """A claim template never changes, so its name says what it claims."""
    claimed = [rendering.plan.device_class, rendering.plan.gpus_per_pod]
    return f"{rendering.name}-{digest_of(claimed)[:8]}"


def _node_affinity(rendering: Rendering) -> dict[str, Any]:
    products = list(rendering.plan.gpu_products)
    if not products:
        return {}
    term = {"matchExpressions": [{"key": PRODUCT_LABEL, "operator": "In", "values": products}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}


def _group_affinity(rendering: Rendering, group: str | None) -> dict[str, Any]:
    """All pods of a group in one domain. Where it is to be exclusive, the group's controller sees to both."""
    key = rendering.spec.placement.topology_key
    if group is None or key is None or rendering.spec.placement.exclusive_topology:
        return {}
    term = {"labelSelector": {"matchLabels": {names.GROUP: group}}, "topologyKey": key}
    return {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


def _tolerations(rendering: Rendering) -> list[dict[str, Any]]:
    own: list[dict[str, Any]] = []
    if rendering.plan.gpus_per_pod:
        own = [{"key": GPU_RESOURCE, "operator": "Exists", "effect": "NoSchedule"}]
    return own + [msgspec.to_builtins(item) for item in rendering.spec.placement.tolerations]
