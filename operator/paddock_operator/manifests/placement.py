"""Where pods run: what every pod of a deployment gets alike, be it a copy of its own or one of a group."""

from collections.abc import Sequence
from typing import Any

import msgspec
from paddock_core.planning.gpus import PRODUCT_LABEL
from paddock_core.resources import names
from paddock_core.resources.llamadeployment import PlacementSpec

from paddock_operator.decide.eligible import tolerated
from paddock_operator.kinds import KUEUE_QUEUE, LOCAL_QUEUES, POD_GROUP
from paddock_operator.manifests.render import COPY, Rendering, digest_of

VOLCANO = "volcano"
VOLCANO_QUEUE = "scheduling.volcano.sh/queue-name"
VOLCANO_GROUP = "scheduling.k8s.io/group-name"
EXCLUSIVE_TOPOLOGY = "leaderworkerset.sigs.k8s.io/exclusive-topology"
CLAIM = "gpus"
"""Name of the claim inside a pod."""


def of_pod(rendering: Rendering) -> dict[str, Any]:
    """The part of a pod's specification that says where it runs."""
    made = on_nodes(rendering.spec.placement, gpus=rendering.plan.gpus_per_pod > 0)
    affinity = {**on_products(rendering.plan.gpu_products), **_group_affinity(rendering)}
    if affinity:
        made["affinity"] = affinity
    if claims_devices(rendering):
        made["resourceClaims"] = [{"name": CLAIM, "resourceClaimTemplateName": claim_template_name(rendering)}]
    return made


def on_nodes(placement: PlacementSpec, *, gpus: bool) -> dict[str, Any]:
    """The part that is the same for every pod that works for a deployment: nodes, scheduler and priority."""
    made: dict[str, Any] = {
        "nodeSelector": placement.node_selector,
        "tolerations": [msgspec.to_builtins(item) for item in tolerated(placement, gpus=gpus)],
    }
    if placement.scheduler_name is not None:
        made["schedulerName"] = placement.scheduler_name
    if placement.priority_class_name is not None:
        made["priorityClassName"] = placement.priority_class_name
    return made


def on_products(products: Sequence[str]) -> dict[str, Any]:
    """The affinity to nodes with these GPUs; empty where it is all the same."""
    if not products:
        return {}
    term = {"matchExpressions": [{"key": PRODUCT_LABEL, "operator": "In", "values": list(products)}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}


def pod_annotations(rendering: Rendering) -> dict[str, str]:
    """Annotations by which Volcano puts the pods of a group into its gang, and any pod into its queue."""
    if by_volcano(rendering) and rendering.spans_pods and POD_GROUP in rendering.apis:
        return {VOLCANO_GROUP: COPY}
    return queue_annotations(rendering.spec.placement)


def queue_annotations(placement: PlacementSpec) -> dict[str, str]:
    """Annotations by which Volcano puts a pod of no gang into its queue."""
    if placement.scheduler_name != VOLCANO or placement.queue is None:
        return {}
    return {VOLCANO_QUEUE: placement.queue}


def owner_labels(rendering: Rendering) -> dict[str, str]:
    """Labels of what Kueue admits: a group, so that it gets all its pods or none, or the one pod of a copy."""
    placement, kueue = rendering.spec.placement, any(kind in rendering.apis for kind in LOCAL_QUEUES)
    by_default = placement.queue is None and kueue and bool(rendering.config.cluster_queue)
    if by_default and rendering.plan.gpus_per_pod and not by_volcano(rendering):
        return {KUEUE_QUEUE: names.QUEUE}
    return queue_labels(placement)


def queue_labels(placement: PlacementSpec) -> dict[str, str]:
    """Labels of an object that Kueue is to admit."""
    return {} if placement.queue is None or placement.scheduler_name == VOLCANO else {KUEUE_QUEUE: placement.queue}


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


def _group_affinity(rendering: Rendering) -> dict[str, Any]:
    """All pods of a group in one domain. Where it is to be exclusive, the group's controller sees to both."""
    key = rendering.spec.placement.topology_key
    if not rendering.spans_pods or key is None or rendering.spec.placement.exclusive_topology:
        return {}
    term = {"labelSelector": {"matchLabels": {names.GROUP: COPY}}, "topologyKey": key}
    return {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
