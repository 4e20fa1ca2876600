"""What the pods of a copy show of its failures: how often containers ended, and what the nearest of them left."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from paddock_core.resources.conditions import ConditionReason
from paddock_core.resources.llamadeployment import EvidenceStatus

from paddock_operator.decide import causes, refusals

MAX_WORDS = 600
"""Of the last words kept in the status: several copies' together must stay far below what an object may hold."""

Pod = Mapping[str, Any]


def endings(pod: Pod) -> int:
    """How often containers of a pod have ended. A pod that is being deleted ends of that: only its restarts count."""
    going = "deletionTimestamp" in pod["metadata"]
    return sum(_endings(status, going=going) for status in _statuses(pod))


def is_excused(pod: Pod) -> bool:
    """True if somebody else ended it, or is about to: a drain, a preemption, a node that shuts down or is full. One
    that its node refused never ran, so that nobody ended it."""
    status = pod.get("status") or {}
    ended = bool(status.get("phase") == "Failed" and status.get("reason"))
    return refusals.is_disrupted(pod) or (ended and not refusals.is_refused(pod))


def left_by(pods: Iterable[Pod]) -> EvidenceStatus | None:
    """What the pod left that failed first, of those with the nearest cause; None where none left anything."""
    found = [item for pod in pods for item in _left(pod)]
    return min(found, key=lambda item: (causes.distance(item.reason), item.at), default=None)


def _left(pod: Pod) -> Iterator[EvidenceStatus]:
    for status in _statuses(pod):
        # The state itself of a pod that is being deleted tells of that alone.
        places = ("lastState",) if "deletionTimestamp" in pod["metadata"] else ("state", "lastState")
        for place in places:
            ended = (status.get(place) or {}).get("terminated")
            if ended:
                reason, words = causes.of_ending(ended)
                yield EvidenceStatus(
                    pod=str(pod["metadata"]["name"]),
                    container=str(status["name"]),
                    node=_node(pod),
                    reason=reason.value,
                    exit_code=ended.get("exitCode"),
                    message=words[-MAX_WORDS:],
                    at=str(ended.get("finishedAt") or ""),
                )
                break


def of_refusal(pod: Pod) -> EvidenceStatus:
    """What its node says of a pod that it refused."""
    metadata, cause = pod["metadata"], causes.root_cause([dict(pod)])
    return EvidenceStatus(
        pod=str(metadata["name"]),
        node=_node(pod),
        reason=ConditionReason.POD_EVICTED.value,
        message="" if cause is None else cause.message[:MAX_WORDS],
        at=str((pod.get("status") or {}).get("startTime") or metadata.get("creationTimestamp") or ""),
    )


def of_placement(pods: Iterable[Pod], *, gpu: str) -> EvidenceStatus:
    """What the scheduler says of the first pod of a copy that finds no node."""
    for pod in pods:
        cause = causes.unplaced(dict(pod), gpu=gpu)
        if cause is not None:
            name, text = str(pod["metadata"]["name"]), cause.message[:MAX_WORDS]
            return EvidenceStatus(pod=name, reason=cause.reason.value, message=text)
    return EvidenceStatus(pod="", reason=ConditionReason.UNSCHEDULABLE.value)


def _endings(status: Mapping[str, Any], *, going: bool) -> int:
    restarts = int(status.get("restartCount") or 0)
    state = status.get("state") or {}
    if going or "running" in state:
        return restarts
    waits_after_end = "waiting" in state and bool((status.get("lastState") or {}).get("terminated"))
    return restarts + (1 if "terminated" in state or waits_after_end else 0)


def _node(pod: Pod) -> str:
    return str((pod.get("spec") or {}).get("nodeName") or "")


def _statuses(pod: Pod) -> Iterable[Mapping[str, Any]]:
    return (pod.get("status") or {}).get("containerStatuses") or ()
