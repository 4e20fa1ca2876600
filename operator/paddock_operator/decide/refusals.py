"""Pods that their node refuses: devices that are gone, too little of something, labels that changed since.

Such a pod never runs, and the controller that made it makes the next one at once, without end.
"""

from collections.abc import Iterable, Mapping
from typing import Any

Pod = Mapping[str, Any]

TAKEN_AWAY = frozenset({"Evicted", "NodeShutdown", "Preempted", "Preempting", "Shutdown", "Terminated"})
"""Reasons with which a kubelet makes room or shuts its node down: they say nothing about the pod or its devices."""


def is_refused(pod: Pod) -> bool:
    """True if its node never let it run, for a reason that the next pod may well meet there too."""
    status = pod.get("status") or {}
    reason = status.get("reason")
    failed = status.get("phase") == "Failed" and bool(reason) and reason not in TAKEN_AWAY
    return failed and not is_disrupted(pod) and not any(map(_has_run, _statuses(status)))


def is_disrupted(pod: Pod) -> bool:
    """True if somebody else ended it, or is about to: a drain, a preemption, a node that is full."""
    conditions: Iterable[Mapping[str, Any]] = (pod.get("status") or {}).get("conditions") or ()
    return any(item["type"] == "DisruptionTarget" and item.get("status") == "True" for item in conditions)


def is_taken_up(pod: Pod) -> bool:
    """True if its node has let it in: it sets up its containers, or has."""
    status = pod.get("status") or {}
    return status.get("phase") == "Running" or any(True for _ in _statuses(status))


def _has_run(status: Mapping[str, Any]) -> bool:
    state, before = status.get("state") or {}, status.get("lastState") or {}
    return bool(status.get("restartCount")) or any(part in found for found in (state, before) for part in _RUN)


_RUN = ("running", "terminated")


def _statuses(status: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    return (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ()))
