"""What is known of one copy alone: the nodes that it keeps off, and since when it is drained."""

from collections.abc import Iterable, Sequence
from typing import Any

from paddock_core.resources import names

from paddock_operator.decide.node_faults import LAST_CHOICE
from paddock_operator.ports import Manifest


def marked(workload: Manifest, avoids: Sequence[str], draining_since: str | None) -> Manifest:
    """The workload with what is known of this copy; `avoids` as in `Copy.avoids`, `draining_since` in RFC 3339."""
    metadata, spec = workload["metadata"], workload["spec"]
    annotations = dict(metadata.get("annotations") or {})
    if draining_since is not None:
        annotations[names.DRAINING] = draining_since
    if avoids:
        annotations[names.AVOIDS] = ",".join(sorted(avoids))
        group = spec.get("leaderWorkerTemplate")
        if group is None:
            spec = {**spec, "template": _off(spec["template"], avoids)}
        else:
            moved = {part: _off(group[part], avoids) for part in ("leaderTemplate", "workerTemplate")}
            spec = {**spec, "leaderWorkerTemplate": {**group, **moved}}
    return {**workload, "metadata": {**metadata, "annotations": annotations}, "spec": spec}


def _off(template: dict[str, Any], avoids: Sequence[str]) -> dict[str, Any]:
    """A pod template that keeps off some nodes, and comes to some only where no other takes it."""
    pod = template["spec"]
    affinity = pod.get("affinity") or {}
    nodes: dict[str, Any] = dict(affinity.get("nodeAffinity") or {})
    never = _fields(node for node in avoids if not node.startswith(LAST_CHOICE))
    last = _fields(node.removeprefix(LAST_CHOICE) for node in avoids if node.startswith(LAST_CHOICE))
    if never:
        required = nodes.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
        asked: list[dict[str, Any]] = required.get("nodeSelectorTerms") or [{}]
        terms = [{**term, "matchFields": never} for term in asked]
        nodes["requiredDuringSchedulingIgnoredDuringExecution"] = {"nodeSelectorTerms": terms}
    if last:
        liked = nodes.get("preferredDuringSchedulingIgnoredDuringExecution") or []
        others = {"weight": 100, "preference": {"matchFields": last}}
        nodes["preferredDuringSchedulingIgnoredDuringExecution"] = [*liked, others]
    return {**template, "spec": {**pod, "affinity": {**affinity, "nodeAffinity": nodes}}}


def _fields(nodes: Iterable[str]) -> list[dict[str, Any]]:
    """What a node must not be, as the scheduler reads it."""
    return [{"key": "metadata.name", "operator": "NotIn", "values": [node]} for node in sorted(nodes)]
