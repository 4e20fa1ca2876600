"""Which nodes a plan may count on: those on which the scheduler would let the pods of a deployment run."""

from collections.abc import Iterable, Mapping
from typing import Any

from paddock_core.planning.gpus import GPU_RESOURCE
from paddock_core.resources.llamadeployment import PlacementSpec, Toleration

_KEEPS_OFF = ("NoSchedule", "NoExecute")
_GPU_TOLERATION = Toleration(key=GPU_RESOURCE, operator="Exists", effect="NoSchedule")
"""Every pod on GPUs has it: nodes are often tainted so, to keep other pods away."""


def tolerated(placement: PlacementSpec, *, gpus: bool) -> tuple[Toleration, ...]:
    """The tolerations of the pods."""
    return (*((_GPU_TOLERATION,) if gpus else ()), *placement.tolerations)


def eligible(node: Mapping[str, Any], placement: PlacementSpec) -> bool:
    """True if the node is ready, not cordoned, selected, and has no taint that keeps GPU pods of this placement off.

    A node that says nothing of being ready counts: nobody has found it otherwise.
    """
    spec, status = node.get("spec") or {}, node.get("status") or {}
    labels = node["metadata"].get("labels") or {}
    if spec.get("unschedulable") or not placement.node_selector.items() <= labels.items():
        return False
    conditions = status.get("conditions") or ()
    if any(item["type"] == "Ready" and item["status"] != "True" for item in conditions):
        return False
    return not _kept_off(spec.get("taints") or (), tolerated(placement, gpus=True))


def _kept_off(taints: Iterable[Mapping[str, Any]], tolerations: Iterable[Toleration]) -> bool:
    effective = [taint for taint in taints if taint.get("effect") in _KEEPS_OFF]
    return any(not any(_tolerates(item, taint) for item in tolerations) for taint in effective)


def _tolerates(toleration: Toleration, taint: Mapping[str, Any]) -> bool:
    """By the rules of Kubernetes: no key with Exists means every taint, no effect every effect."""
    if toleration.effect and toleration.effect != taint.get("effect"):
        return False
    exists = toleration.operator == "Exists"
    if not toleration.key:
        return exists
    return toleration.key == taint.get("key") and (exists or (toleration.value or "") == (taint.get("value") or ""))
