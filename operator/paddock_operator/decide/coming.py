"""Copies that come up without any known trouble: what each waits for, and since when nothing has happened to it.

All times are those that the API server and the nodes wrote down, so that a restart of the operator changes nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from paddock_core.resources.conditions import ConditionReason

from paddock_operator.decide import causes
from paddock_operator.decide.copies import Copy
from paddock_operator.decide.outcome import Coming
from paddock_operator.decide.patients import created, node_of
from paddock_operator.manifests.serving_pods import TRITON, WORKER
from paddock_operator.observed import Child
from paddock_operator.times import format_time, parse_time

MADE = (TRITON, WORKER)
"""Our own containers of serving pods. Others are put there by somebody else: meshes, vaults, collectors."""


def of(copies: Sequence[Copy]) -> list[Coming]:
    """Each copy that is to answer and does not, the one to which nothing has happened for longest first."""
    waiting = [copy for copy in copies if not copy.going and not copy.draining and not copy.answering]
    return sorted((_of(copy) for copy in waiting), key=lambda item: item.since)


def _of(copy: Copy) -> Coming:
    pods = [pod for pod in copy.pods if not causes.is_over(pod.manifest)]
    since = max(copy.born_at, *(moment for pod in (*copy.pods, *copy.leaving) for moment in _moments(pod)), 0.0)
    text = _lacking(copy, pods)
    if text is None:
        patience = max((_startup_seconds(pod) for pod in pods), default=0.0)
        where = pods[0] if copy.leader is None else copy.leader
        loading = f"the engine is loading the weights: {causes.placed(where.manifest)}, since {format_time(since)}"
        return Coming(reason=ConditionReason.LOADING, text=loading, since=since, patience_seconds=patience)
    return Coming(reason=ConditionReason.PODS_PENDING, text=f"{text}, since {format_time(since)}", since=since)


def _lacking(copy: Copy, pods: Sequence[Child]) -> str | None:
    """What its pods lack before the engine can load; None where they lack nothing."""
    if len(pods) < copy.size:
        made = "its pod" if copy.size == 1 else f"{copy.size - len(pods)} of its {copy.size} pods"
        maker = f"copy {copy.name} waits for {made}, which the controller of its {_kind(copy)} makes"
        ending = [causes.placed(pod.manifest) for pod in copy.leaving]
        return f"{maker}; {ending[0]} of before has not ended" if ending else maker
    for pod in pods:
        text = _lack(pod.manifest, node=node_of(pod))
        if text:
            return text
    return None


def _lack(pod: Mapping[str, Any], *, node: str) -> str:
    status, name = pod.get("status") or {}, causes.placed(dict(pod))
    if not node:
        return f"{name} waits for a node, and no scheduler has said anything of it"
    containers = status.get("containerStatuses") or ()
    untouched = status.get("phase") == "Pending" and not containers and "startTime" not in status
    if untouched:
        return f"{name} waits for the node's kubelet to take it up"
    if causes.is_creating(dict(pod)):
        return f"{name} waits for its containers, which the node makes: volumes, images, what runs before them"
    others = [item["name"] for item in containers if not item.get("ready") and item["name"] not in MADE]
    if others and all(item.get("ready") for item in containers if item["name"] in MADE):
        return f"{name} waits for its container {others[0]}, which is not Paddock's, to be ready"
    return ""


def _kind(copy: Copy) -> str:
    return "workload" if copy.workload is None else copy.workload.kind.name


def _moments(pod: Child) -> Iterator[float]:
    """When something happened to a pod."""
    yield created(pod)
    status = pod.manifest.get("status") or {}
    told = [item.get("lastTransitionTime") for item in status.get("conditions") or ()]
    told += [pod.manifest["metadata"].get("deletionTimestamp"), status.get("startTime")]
    for item in (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())):
        told += [((item.get("state") or {}).get("running") or {}).get("startedAt")]
    yield from (parse_time(str(text)) for text in told if text)


def _startup_seconds(pod: Child) -> float:
    """How long its container may take to start: after that the kubelet itself ends it."""
    probes = [item.get("startupProbe") or {} for item in (pod.manifest.get("spec") or {}).get("containers") or ()]
    return max((float(item.get("periodSeconds", 10) * item.get("failureThreshold", 3)) for item in probes), default=0.0)
