"""Conditions of a LlamaDeployment: their types and reasons, how they change, and the phase that people read."""

from collections.abc import Iterable
from enum import StrEnum

import msgspec

from paddock_core.resources.llamadeployment import Condition

TRUE, FALSE, UNKNOWN = "True", "False", "Unknown"
MAX_MESSAGE = 4000


class ConditionType(StrEnum):
    """Parts of the state, in the order in which a deployment comes up. A part that is not reached yet is absent.

    What each of them and each reason means, and what to do, is in reasons.yaml (paddock_core.resources.reasons).
    """

    ACCEPTED = "Accepted"
    LICENSE_ACCEPTED = "LicenseAccepted"
    PLANNED = "Planned"
    QUOTA_AVAILABLE = "QuotaAvailable"
    WEIGHTS_READY = "WeightsReady"
    IMAGE_ACCEPTED = "ImageAccepted"
    ENGINE_READY = "EngineReady"
    SCHEDULED = "Scheduled"
    SERVING = "Serving"
    ROUTABLE = "Routable"
    PROGRESSING = "Progressing"
    DEGRADED = "Degraded"


class ModelConditionType(StrEnum):
    """Parts of the state of a LlamaModel."""

    LICENSE_ACCEPTED = "LicenseAccepted"
    REGISTERED = "Registered"
    SERVABLE = "Servable"


class ConditionReason(StrEnum):
    """Stable reasons beside those of the license decision and of the planner."""

    ACCEPTED = "Accepted"
    INVALID_SPEC = "InvalidSpec"
    DELETING = "Deleting"
    NAMESPACE_UNKNOWN = "NamespaceUnknown"
    ACCEPT_DECLINED = "AcceptDeclined"
    RECORD_MISMATCH = "RecordMismatch"
    POLICY_EXPIRED = "PolicyExpired"
    MODEL_UNKNOWN = "ModelUnknown"
    REGISTERED = "Registered"
    REGISTERING = "Registering"
    IN_USE = "InUse"
    SERVABLE = "Servable"
    PLANNED = "Planned"
    PRIORITY_NOT_ALLOWED = "PriorityNotAllowed"
    PLACEMENT_NOT_ALLOWED = "PlacementNotAllowed"
    QUOTA_AVAILABLE = "QuotaAvailable"
    GPU_QUOTA_EXCEEDED = "GpuQuotaExceeded"
    LEADER_WORKER_SET_MISSING = "LeaderWorkerSetMissing"
    DEVICE_CLAIMS_MISSING = "DeviceClaimsMissing"
    QUEUE_MISSING = "QueueMissing"
    NETWORK_NOT_ALLOWED = "NetworkNotAllowed"
    WEIGHTS_PREPARING = "Preparing"
    WEIGHTS_PREPARED = "Prepared"
    WEIGHTS_FAILED = "WeightsFailed"
    WEIGHTS_MISMATCH = "WeightsMismatch"
    WEIGHTS_CHECKSUM_MISMATCH = "WeightsChecksumMismatch"
    WEIGHTS_VOLUME_FULL = "WeightsVolumeFull"
    SOURCE_NOT_ALLOWED = "SourceNotAllowed"
    DOWNLOAD_DENIED = "DownloadDenied"
    CONTROL_PLANE_UNREACHABLE = "ControlPlaneUnreachable"
    APPLY_FAILED = "ApplyFailed"
    IMAGE_PINNED = "ImagePinned"
    IMAGE_NOT_PINNED = "ImageNotPinned"
    ENGINE_BUILDING = "Building"
    ENGINE_READY = "EngineReady"
    BUILD_FAILED = "BuildFailed"
    ENGINE_INCOMPATIBLE = "EngineIncompatible"
    ENGINE_UNSUPPORTED = "EngineUnsupported"
    SCHEDULED = "Scheduled"
    INSUFFICIENT_GPU = "InsufficientGPU"
    INSUFFICIENT_RESOURCES = "InsufficientResources"
    UNSCHEDULABLE = "Unschedulable"
    QUEUED = "Queued"
    PODS_PENDING = "PodsPending"
    PODS_REFUSED = "PodsRefused"
    PODS_STUCK = "PodsStuck"
    POD_EVICTED = "PodEvicted"
    VOLUME_NOT_MOUNTED = "VolumeNotMounted"
    POD_NOT_STARTED = "PodNotStarted"
    IMAGE_PULL_FAILED = "ImagePullFailed"
    CONTAINER_CONFIG_INVALID = "ContainerConfigInvalid"
    CRASH_LOOPING = "CrashLooping"
    ENGINE_OUT_OF_MEMORY = "EngineOOM"
    ENVIRONMENT_NOT_READY = "EnvironmentNotReady"
    WORKER_JOIN_TIMEOUT = "WorkerJoinTimeout"
    RANKS_LOST = "RanksLost"
    GROUP_FAILED = "GroupFailed"
    RESTART_DELAYED = "RestartDelayed"
    NODE_LOST = "NodeLost"
    GPU_LOST = "GpuLost"
    NODES_DOUBTED = "NodesDoubted"
    LOADING = "Loading"
    PROBE_FAILED = "ProbeFailed"
    ENGINE_HUNG = "EngineHung"
    SERVING = "Serving"
    TOO_FEW_AVAILABLE = "TooFewAvailable"
    ROUTABLE = "Routable"
    NO_ENDPOINT = "NoEndpoint"
    GATEWAY_BEHIND = "GatewayBehind"
    GATEWAY_UNREACHABLE = "GatewayUnreachable"
    ROLLING_OUT = "RollingOut"
    PROGRESS_DEADLINE_EXCEEDED = "ProgressDeadlineExceeded"
    ROLLOUT_FAILED = "RolloutFailed"
    ROLLED_BACK = "RolledBack"
    SCALED_TO_ZERO = "ScaledToZero"
    STOPPED = "Stopped"
    DRAINING = "Draining"
    NOT_SERVED = "NotServed"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What a round found of one condition; becomes a `Condition` by `merge`."""

    type: ConditionType | ModelConditionType
    status: str
    reason: str
    message: str


def holds(kind: ConditionType | ModelConditionType, reason: str, message: str) -> Finding:
    """A condition that holds."""
    return Finding(type=kind, status=TRUE, reason=reason, message=message)


def fails(kind: ConditionType | ModelConditionType, reason: str, message: str) -> Finding:
    """A condition that does not hold."""
    return Finding(type=kind, status=FALSE, reason=reason, message=message)


def unknown(kind: ConditionType | ModelConditionType, reason: str, message: str) -> Finding:
    """A condition of which nothing can be said now."""
    return Finding(type=kind, status=UNKNOWN, reason=reason, message=message)


def merge(*, old: Iterable[Condition], found: Iterable[Finding], generation: int, now: str) -> tuple[Condition, ...]:
    """The conditions after a round: the transition time changes only with the status. `now` is RFC 3339."""
    before = {condition.type: condition for condition in old}
    merged = []
    for finding in found:
        previous = before.get(finding.type)
        unchanged = previous is not None and previous.status == finding.status
        merged.append(
            Condition(
                type=finding.type.value,
                status=finding.status,
                reason=str(finding.reason),
                message=finding.message[:MAX_MESSAGE],
                observed_generation=generation,
                last_transition_time=previous.last_transition_time if previous and unchanged else now,
            )
        )
    return tuple(merged)


def is_well(condition: Condition) -> bool:
    """True if nobody has to look at it: it holds, or it is Degraded and does not."""
    return (condition.status == TRUE) is (condition.type != ConditionType.DEGRADED)


_OWN_WORD = (
    ConditionReason.STOPPED,
    ConditionReason.SCALED_TO_ZERO,
    ConditionReason.DRAINING,
    ConditionReason.GROUP_FAILED,
)
"""Reasons of Serving that are the phase themselves."""

PHASES = {
    ConditionType.ACCEPTED: "Invalid",
    ConditionType.LICENSE_ACCEPTED: "LicenseRequired",
    ConditionType.PLANNED: "Unplannable",
    ConditionType.QUOTA_AVAILABLE: "QuotaExceeded",
    ConditionType.WEIGHTS_READY: "Preparing",
    ConditionType.IMAGE_ACCEPTED: "ImageNotPinned",
    ConditionType.ENGINE_READY: "Building",
    ConditionType.SCHEDULED: "Scheduling",
    ConditionType.SERVING: "Starting",
    ConditionType.ROUTABLE: "Routing",
}
"""The word for the first condition that does not hold."""


def phase(conditions: Iterable[Condition]) -> str:
    """One word for people: that of the first condition that does not hold. Never read back."""
    ordered = {condition.type: condition for condition in conditions}
    serving = ordered.get(ConditionType.SERVING)
    if serving is not None and serving.reason in _OWN_WORD:
        return serving.reason
    accepted = ordered.get(ConditionType.ACCEPTED)
    if accepted is not None and accepted.reason == ConditionReason.DELETING:
        return "Terminating"
    for kind, word in PHASES.items():
        condition = ordered.get(kind)
        if condition is not None and condition.status != TRUE:
            return word if condition.status == FALSE else "Unknown"
    return "Serving" if serving is not None else "Pending"
