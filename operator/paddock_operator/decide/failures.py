"""What a pod's status means: root causes as stable reasons, with the pod, the container and its last words."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
from paddock_core.resources.conditions import ConditionReason

MAX_WORDS = 800

WAITING = {
    "ErrImagePull": ConditionReason.IMAGE_PULL_FAILED,
    "ImagePullBackOff": ConditionReason.IMAGE_PULL_FAILED,
    "InvalidImageName": ConditionReason.IMAGE_PULL_FAILED,
    "ErrImageNeverPull": ConditionReason.IMAGE_PULL_FAILED,
    "CrashLoopBackOff": ConditionReason.CRASH_LOOPING,
    "CreateContainerConfigError": ConditionReason.CRASH_LOOPING,
    "CreateContainerError": ConditionReason.CRASH_LOOPING,
    "RunContainerError": ConditionReason.CRASH_LOOPING,
}
"""A container's waiting reason that will not mend by waiting alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Why a pod does not get on."""

    reason: ConditionReason
    message: str


def classify(pods: Iterable[dict[str, Any]]) -> Trouble | None:
    """The first trouble among these pods, or None."""
    for pod in pods:
        trouble = unschedulable(pod) or _container_trouble(pod)
        if trouble is not None:
            return trouble
    return None


def unschedulable(pod: dict[str, Any]) -> Trouble | None:
    """Set if the scheduler finds no node."""
    for condition in pod.get("status", {}).get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition.get("reason") == "Unschedulable":
            message = f"pod {pod['metadata']['name']}: {condition.get('message', 'no node fits')}"
            return Trouble(reason=ConditionReason.INSUFFICIENT_RESOURCES, message=message)
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class LastWords:
    """What a weights Job left: `<reason>: <words>`, and in a last line how long to wait."""

    reason: str
    text: str
    retry_after_seconds: float | None


class _Tail(msgspec.Struct, frozen=True, rename="camel"):
    retry_after_seconds: float


def parse_last_words(words: str) -> LastWords:
    """Taken apart; a Job that was ended from outside leaves other words, or none, and says nothing of waiting."""
    text, _, tail = words.rstrip().rpartition("\n")
    try:
        wait: float | None = msgspec.json.decode(tail, type=_Tail).retry_after_seconds
    except msgspec.DecodeError:
        text, wait = words, None
    return LastWords(reason=text.partition(":")[0], text=text.strip(), retry_after_seconds=wait)


def last_words(pod: dict[str, Any]) -> str:
    """What the container of a pod left when it ended last (its termination message)."""
    for _name, state in _terminated(pod):
        message = state.get("message")
        if message:
            return str(message)[:MAX_WORDS]
    return ""


def _container_trouble(pod: dict[str, Any]) -> Trouble | None:
    name = pod["metadata"]["name"]
    for container, state in _terminated(pod):
        if state.get("reason") == "OOMKilled":
            text = f"container {container} of pod {name} ran out of memory: lower contextLength or maxConcurrency"
            return Trouble(reason=ConditionReason.ENGINE_OUT_OF_MEMORY, message=text)
    for status in _statuses(pod):
        waiting = status.get("state", {}).get("waiting") or {}
        reason = WAITING.get(waiting.get("reason", ""))
        if reason is not None:
            text = last_words(pod) or waiting.get("message") or waiting["reason"]
            return Trouble(reason=reason, message=f"container {status['name']} of pod {name}: {text}"[:MAX_WORDS])
    return None


def _statuses(pod: dict[str, Any]) -> list[dict[str, Any]]:
    statuses: list[dict[str, Any]] = pod.get("status", {}).get("containerStatuses") or []
    return statuses


def _terminated(pod: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for status in _statuses(pod):
        for place in ("state", "lastState"):
            terminated = (status.get(place) or {}).get("terminated")
            if terminated:
                yield status["name"], terminated
