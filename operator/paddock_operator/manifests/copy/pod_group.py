"""Volcano's gangs: all pods of a group get nodes, or none does."""

from typing import Any

from paddock_operator.kinds import POD_GROUP
from paddock_operator.manifests import placement
from paddock_operator.manifests.render import Rendering
from paddock_operator.ports import Manifest

ORDER = 7


def render(rendering: Rendering) -> list[Manifest]:
    """One for a copy of several pods, where Volcano schedules and the cluster has it."""
    if not rendering.spans_pods or not placement.by_volcano(rendering) or POD_GROUP not in rendering.apis:
        return []
    wanted = rendering.spec.placement
    spec: dict[str, Any] = {"minMember": rendering.plan.pods_per_group}
    if wanted.queue is not None:
        spec["queue"] = wanted.queue
    if wanted.priority_class_name is not None:
        spec["priorityClassName"] = wanted.priority_class_name
    gang = {
        "apiVersion": POD_GROUP.api_version,
        "kind": POD_GROUP.name,
        "metadata": rendering.copy_metadata(),
        "spec": spec,
    }
    return [gang]
