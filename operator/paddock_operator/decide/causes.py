"""Why pods do not get on: root causes as stable reasons, with the pod, the container and its last words.

Only what is so now is told: a container that is ready has no trouble, whatever it ended of before, and a pod that is
over counts only until another one stands in for it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from paddock_core.resources import names
from paddock_core.resources.conditions import ConditionReason
from paddock_core.resources.reasons import advice

from paddock_operator.decide.refusals import is_refused, is_taken_up
from paddock_operator.kinds import KUEUE_QUEUE
from paddock_operator.observed import Warned
from paddock_operator.times import parse_time

MAX_WORDS = 800
OVER = ("Succeeded", "Failed")
"""Phases of a pod that never runs again."""

WAITING = {
    "ErrImagePull": ConditionReason.IMAGE_PULL_FAILED,
    "ImagePullBackOff": ConditionReason.IMAGE_PULL_FAILED,
    "InvalidImageName": ConditionReason.IMAGE_PULL_FAILED,
    "ErrImageNeverPull": ConditionReason.IMAGE_PULL_FAILED,
    "CreateContainerConfigError": ConditionReason.CONTAINER_CONFIG_INVALID,
    "CreateContainerError": ConditionReason.CONTAINER_CONFIG_INVALID,
    "RunContainerError": ConditionReason.CONTAINER_CONFIG_INVALID,
    "CrashLoopBackOff": ConditionReason.CRASH_LOOPING,
}
"""A container's waiting reason that will not mend by waiting alone."""

TOLD = {
    "EngineIncompatible": ConditionReason.ENGINE_INCOMPATIBLE,
    "EnvironmentNotReady": ConditionReason.ENVIRONMENT_NOT_READY,
    "GroupFailed": ConditionReason.RANKS_LOST,
    "WorkerJoinTimeout": ConditionReason.WORKER_JOIN_TIMEOUT,
}
"""First words that our own containers leave, and the reasons that they are. A group that failed once is made anew."""

ENDED = (ConditionReason.CRASH_LOOPING, ConditionReason.ENGINE_OUT_OF_MEMORY)
"""Reasons for a container that ended and said none of its own: of a Job they mean no more than that it failed."""

WARNINGS = {
    "FailedAttachVolume": ConditionReason.VOLUME_NOT_MOUNTED,
    "FailedMapVolume": ConditionReason.VOLUME_NOT_MOUNTED,
    "FailedMount": ConditionReason.VOLUME_NOT_MOUNTED,
    "FailedCreatePodSandBox": ConditionReason.POD_NOT_STARTED,
    "FailedPrepareDynamicResources": ConditionReason.POD_NOT_STARTED,
    "NetworkNotReady": ConditionReason.POD_NOT_STARTED,
    "FailedCreate": ConditionReason.PODS_REFUSED,
}
"""Reasons of Events about what is stuck."""

UNHEALTHY = "Unhealthy"
"""Reason of an Event about a probe that fails."""

KILLED = (137, 143)
"""Exit codes of what was ended by SIGKILL or SIGTERM."""

_MEMORY_WORDS = ("out of memory", "outofmemory", "memoryallocation", "bad_alloc")
"""Parts of what CUDA, TensorRT-LLM and the C++ library say where an allocation fails; read without regard to case."""

_CONSEQUENCES: dict[str, int] = {
    ConditionReason.CRASH_LOOPING: 1,
    ConditionReason.WORKER_JOIN_TIMEOUT: 2,
    ConditionReason.RANKS_LOST: 2,
}
"""Reasons behind which there may be another pod's: told only where no pod of the copy has a nearer one."""

_LACKS = re.compile(r"Insufficient ([\w./-]*\w)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Why a pod does not get on."""

    reason: ConditionReason
    message: str

    @property
    def advised(self) -> str:
        """The message, and what to do."""
        return f"{self.message.rstrip('.')}. What to do: {advice(self.reason)}"


def root_cause(
    pods: Iterable[dict[str, Any]], *, gpu: str = "", warned: Mapping[str, Warned] | None = None
) -> Cause | None:
    """The nearest cause among these pods, or None: a worker's own before the leader's that waits for it.

    `gpu` is the resource by which they ask for GPUs, `warned` what Events say of those that are stuck.
    """
    found = list(pods)
    # Of a pod that is over nothing is told once another one is there: it is not coming back.
    alive = [pod for pod in found if not is_over(pod)] or found
    causes = [cause for pod in alive if (cause := _cause(pod, gpu, warned or {})) is not None]
    # The next one only waits: what refused the one before may well refuse it too.
    causes = causes or [cause for pod in _refused(found) if (cause := _of_node(pod)) is not None]
    return min(causes, key=lambda cause: distance(cause.reason), default=None)


def _refused(pods: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Pods that their node refused, of copies of which no node has taken up another one since."""
    taken_up = {_copy(pod) for pod in pods if not is_over(pod) and is_taken_up(pod)}
    yield from (pod for pod in pods if is_refused(pod) and _copy(pod) not in taken_up)


def _copy(pod: dict[str, Any]) -> str:
    return str((pod["metadata"].get("labels") or {}).get(names.COPY, ""))


def distance(reason: str) -> int:
    """How far a reason may be from where the trouble began: 0 for one that speaks of its own pod."""
    return _CONSEQUENCES.get(reason, 0)


def unplaced(pod: dict[str, Any], *, gpu: str = "") -> Cause | None:
    """Set if the scheduler finds no node, or may not look for one yet."""
    for condition in pod.get("status", {}).get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition.get("status") != "True":
            words = condition.get("message") or "no node fits"
            if condition.get("reason") == "SchedulingGated":
                text = f"pod {pod['metadata']['name']} waits for {_gate(pod)}: {words}"[:MAX_WORDS]
                return Cause(reason=ConditionReason.QUEUED, message=text)
            if condition.get("reason") == "Unschedulable":
                text = f"pod {pod['metadata']['name']}: {words}"[:MAX_WORDS]
                return Cause(reason=_lacking(text, gpu), message=text)
    return None


def placed(pod: dict[str, Any]) -> str:
    """The pod and where it is: who reads of it may have no right to look at it."""
    node = pod.get("spec", {}).get("nodeName")
    return f"pod {pod['metadata']['name']} on {node}" if node else f"pod {pod['metadata']['name']}"


def is_over(pod: dict[str, Any]) -> bool:
    """True if it never runs again; whoever made it makes another one."""
    return pod.get("status", {}).get("phase") in OVER


def is_creating(pod: dict[str, Any]) -> bool:
    """True while a node sets the pod up: no status says what that waits for."""
    waiting = [(status.get("state") or {}).get("waiting") or {} for status in _statuses(pod)]
    return any(item.get("reason") in ("ContainerCreating", "PodInitializing") for item in waiting)


def last_words(pod: dict[str, Any]) -> str:
    """What a container of a pod left when it ended last: its termination message, or else its last log lines."""
    for status in _statuses(pod):
        for ended in _endings(status):
            if ended.get("message"):
                return str(ended["message"])[:MAX_WORDS]
    return ""


def words_of_job(job: dict[str, Any], pods: Iterable[dict[str, Any]]) -> str:
    """Why a Job failed: what its last pod left, else what became of its pods, else what its controller says."""
    found = list(pods)
    left = [words for pod in found if (words := last_words(pod))]
    if left:
        return left[-1]
    cause = root_cause(found)
    if cause is not None:
        return cause.message
    for condition in job.get("status", {}).get("conditions") or ():
        if condition["type"] == "Failed" and condition.get("message"):
            return f"{condition.get('reason', 'Failed')}: {condition['message']}"
    return "it left no message"


def of_events(manifest: dict[str, Any], *, warned: Mapping[str, Warned]) -> Cause | None:
    """What Events say of an object that is stuck."""
    metadata = manifest["metadata"]
    event = warned.get(str(metadata.get("uid", "")))
    reason = None if event is None else WARNINGS.get(event.reason)
    if event is None or reason is None:
        return None
    what = placed(manifest) if "containers" in manifest.get("spec", {}) else metadata["name"]
    return Cause(reason=reason, message=f"{what}: {event.reason}: {event.message}"[:MAX_WORDS])


def _cause(pod: dict[str, Any], gpu: str, warned: Mapping[str, Warned]) -> Cause | None:
    cause = unplaced(pod, gpu=gpu) or _of_containers(pod, warned) or _of_node(pod)
    return cause or (of_events(pod, warned=warned) if is_creating(pod) else None)


def _gate(pod: dict[str, Any]) -> str:
    """The queue that the pod waits in, or else who holds it back."""
    queue = (pod["metadata"].get("labels") or {}).get(KUEUE_QUEUE)
    if queue:
        return f"the queue {queue} of namespace {pod['metadata'].get('namespace', '')}"
    gates = [str(gate["name"]) for gate in pod.get("spec", {}).get("schedulingGates") or ()]
    return f"the scheduling gate {', '.join(gates)}" if gates else "a scheduling gate"


def _lacking(text: str, gpu: str) -> ConditionReason:
    lacks = set(_LACKS.findall(text))
    if gpu in lacks or "cannot allocate all claims" in text:
        return ConditionReason.INSUFFICIENT_GPU
    return ConditionReason.INSUFFICIENT_RESOURCES if lacks else ConditionReason.UNSCHEDULABLE


def _of_containers(pod: dict[str, Any], warned: Mapping[str, Warned]) -> Cause | None:
    for status in _statuses(pod):
        if status.get("ready"):
            continue
        reason, text = _of_container(status)
        event = warned.get(str(pod["metadata"].get("uid", "")))
        if event is not None and event.reason == UNHEALTHY and _is_killed(status):
            text = f"{event.message}; it {text}"
        if reason is not None:
            return Cause(reason=reason, message=f"container {status['name']} of {placed(pod)}: {text}"[:MAX_WORDS])
    return None


def _of_container(status: dict[str, Any]) -> tuple[ConditionReason | None, str]:
    """The reason and the words of a container that is not ready."""
    waiting = status.get("state", {}).get("waiting") or {}
    reason = WAITING.get(waiting.get("reason", ""))
    if reason not in (None, ConditionReason.CRASH_LOOPING):
        return reason, str(waiting.get("message") or waiting["reason"])
    for ended in _endings(status):
        if reason is not None or _failed(ended):
            return of_ending(ended)
    return reason, str(waiting.get("message") or waiting.get("reason", ""))


def of_ending(ended: Mapping[str, Any]) -> tuple[ConditionReason, str]:
    """The reason and the words of a container that ended."""
    words = str(ended.get("message") or "").strip()
    if ended.get("reason") == "OOMKilled":
        return ConditionReason.ENGINE_OUT_OF_MEMORY, f"ended for using more memory than its limit. {words}".rstrip()
    told = TOLD.get(words.partition(":")[0])
    if told is not None:
        return told, words
    if any(part in words.lower() for part in _MEMORY_WORDS):
        return ConditionReason.ENGINE_OUT_OF_MEMORY, words
    code = f"ended with exit code {ended.get('exitCode', 'unknown')} ({ended.get('reason', 'Error')})"
    # The last line of a log says most, and a message is cut at its end.
    last = words[-MAX_WORDS // 2 :]
    return ConditionReason.CRASH_LOOPING, f"{code}: {last}" if last else f"{code} and left no words: read its log"


def _of_node(pod: dict[str, Any]) -> Cause | None:
    """A kubelet refused the pod, or ended it: its disk is full, a device is gone, it shuts down."""
    status = pod.get("status", {})
    if status.get("phase") != "Failed" or not status.get("reason"):
        return None
    text = f"{placed(pod)}: {status['reason']}: {status.get('message', '')}"
    return Cause(reason=ConditionReason.POD_EVICTED, message=text[:MAX_WORDS])


def killed_since(pod: dict[str, Any]) -> float | None:
    """When a container had begun that somebody killed and that is not ready since, Unix seconds, 0 where that is not
    known; None where there is none. Want of memory kills too, and says so."""
    for status in _statuses(pod):
        if not status.get("ready") and _is_killed(status):
            begun = next(_endings(status)).get("startedAt")
            return parse_time(str(begun)) if begun else 0.0
    return None


def _is_killed(status: dict[str, Any]) -> bool:
    """True if the container was killed when it ended last, and left no reason of its own."""
    ended = next(_endings(status), None)
    if ended is None or ended.get("exitCode") not in KILLED:
        return False
    return of_ending(ended)[0] is ConditionReason.CRASH_LOOPING


def _failed(ended: dict[str, Any]) -> bool:
    return ended.get("exitCode") != 0 and ended.get("reason") != "Completed"


def _statuses(pod: dict[str, Any]) -> list[dict[str, Any]]:
    """Of its containers, those first that run before the others: admission webhooks put some there (meshes, vaults).
    One of these that ended well has nothing more to say."""
    status = pod.get("status", {})
    first = [item for item in status.get("initContainerStatuses") or () if not _ended_well(item)]
    return [*first, *(status.get("containerStatuses") or ())]


def _ended_well(status: dict[str, Any]) -> bool:
    ended = (status.get("state") or {}).get("terminated")
    return ended is not None and not _failed(ended)


def _endings(status: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """How the container ended, the latest first."""
    for place in ("state", "lastState"):
        ended = (status.get(place) or {}).get("terminated")
        if ended:
            yield ended
