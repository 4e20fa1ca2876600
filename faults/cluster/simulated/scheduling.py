"""Which node a pod may run on: GPUs, labels, taints."""

from typing import Any

from paddock_operator.ports import Manifest

GPU = "nvidia.com/gpu"


def gpus_of(pod: Manifest) -> int:
    """Whole GPUs that a pod asks for."""
    found = [item.get("resources") or {} for item in pod["spec"].get("containers") or ()]
    return sum(int((item.get("limits") or item.get("requests") or {}).get(GPU, 0)) for item in found)


def free_gpus(nodes: list[Manifest], pods: list[Manifest]) -> dict[str, int]:
    """GPUs of each node that no pod holds."""
    free = {node["metadata"]["name"]: int((node["status"].get("allocatable") or {}).get(GPU, 0)) for node in nodes}
    for pod in pods:
        node = pod["spec"].get("nodeName")
        if node in free and (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed"):
            free[node] -= gpus_of(pod)
    return free


def is_fit(pod: Manifest, node: Manifest, *, free: dict[str, int]) -> bool:
    """Whether the node is ready, takes the pod, and has room for it."""
    spec, labels = pod["spec"], node["metadata"].get("labels") or {}
    ready = any(item["type"] == "Ready" and item["status"] == "True" for item in node["status"].get("conditions") or ())
    if not ready or (node.get("spec") or {}).get("unschedulable"):
        return False
    if any(labels.get(name) != value for name, value in (spec.get("nodeSelector") or {}).items()):
        return False
    if not _affine(spec, labels, node["metadata"]["name"]) or not all(
        _tolerated(spec, taint) for taint in (node.get("spec") or {}).get("taints") or ()
    ):
        return False
    return gpus_of(pod) <= free[node["metadata"]["name"]]


def _affine(spec: dict[str, Any], labels: dict[str, str], name: str) -> bool:
    affinity = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    )
    terms = (affinity or {}).get("nodeSelectorTerms") or ()
    return not terms or any(_agrees(term, labels, {"metadata.name": name}) for term in terms)


def is_disliked(pod: Manifest, name: str) -> bool:
    """Whether the pod would rather not run on a node of this name."""
    affinity = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    liked = affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
    fields = [rule for item in liked for rule in item["preference"].get("matchFields") or ()]
    return not all(_holds(rule, {"metadata.name": name}) for rule in fields)


def _agrees(term: dict[str, Any], labels: dict[str, str], fields: dict[str, str]) -> bool:
    return all(_holds(rule, labels) for rule in term.get("matchExpressions") or ()) and all(
        _holds(rule, fields) for rule in term.get("matchFields") or ()
    )


def _holds(rule: dict[str, Any], labels: dict[str, str]) -> bool:
    value, values = labels.get(rule["key"]), rule.get("values") or ()
    match rule["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case other:
            raise ValueError(f"the operator {other} of an affinity is not understood")


def _tolerated(spec: dict[str, Any], taint: dict[str, Any]) -> bool:
    if taint["effect"] == "PreferNoSchedule":
        return True
    for item in spec.get("tolerations") or ():
        same = item.get("key") in (None, taint["key"]) and item.get("effect") in (None, "", taint["effect"])
        if same and (item.get("operator") == "Exists" or item.get("value", "") == taint.get("value", "")):
            return True
    return False
