"""Conditions of a LlamaDeployment: their types and reasons, how they change, and the phase that people read."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from paddock_core.resources.llamadeployment import Condition

TRUE, FALSE, UNKNOWN = "True", "False", "Unknown"
MAX_MESSAGE = 4000


class ConditionType(StrEnum):
    """Parts of the state, in the order in which a deployment comes up. A part that is not reached yet is absent."""

    ACCEPTED = "Accepted"
    LICENSE_ACCEPTED = "LicenseAccepted"
    PLANNED = "Planned"
    WEIGHTS_READY = "WeightsReady"
    IMAGE_ACCEPTED = "ImageAccepted"
    """The image that its engine runs in may be used; absent for an engine that the table of images does not have."""
    ENGINE_READY = "EngineReady"
    """The compiled engine is there; absent for engines that need none."""
    SCHEDULED = "Scheduled"
    SERVING = "Serving"
    PROGRESSING = "Progressing"
    """True while a change comes about by itself, False where it does not get on; absent where all is as asked."""
    DEGRADED = "Degraded"
    """True while it serves, but a part of it has a trouble that does not mend by waiting; absent otherwise."""


class ModelConditionType(StrEnum):
    """Parts of the state of a LlamaModel."""

    LICENSE_ACCEPTED = "LicenseAccepted"
    """Its owner may have made it as it says."""
    REGISTERED = "Registered"
    """The control plane knows it, so it can be deployed."""
    SERVABLE = "Servable"
    """This version can run it."""


class ConditionReason(StrEnum):
    """Stable reasons beside those of the license decision and of the planner."""

    ACCEPTED = "Accepted"
    """The specification makes sense."""
    INVALID_SPEC = "InvalidSpec"
    """The specification makes no sense; the message says where."""
    DELETING = "Deleting"
    """The object is being deleted and its serving resources are cleaned up."""
    NAMESPACE_UNKNOWN = "NamespaceUnknown"
    """The namespace belongs to no tenant: nobody could be licensed or billed."""
    TENANT_UNKNOWN = "TenantUnknown"
    """spec.access.tenants names a tenant that is not registered: told when the object is stored."""
    ACCEPT_DECLINED = "AcceptDeclined"
    """spec.license.accept is false."""
    RECORD_MISMATCH = "RecordMismatch"
    """spec.license names a revision or an acceptance that is not the one on record."""
    POLICY_EXPIRED = "PolicyExpired"
    """The control plane was not reached for too long: what runs stays, nothing new is created."""
    MODEL_UNKNOWN = "ModelUnknown"
    """No such model is in the catalogue, or registered for this tenant: nothing can be planned."""
    REGISTERED = "Registered"
    """The model can be deployed by whoever may."""
    REGISTERING = "Registering"
    """The control plane is being asked."""
    IN_USE = "InUse"
    """It is being deleted, and deployments of it still exist."""
    SERVABLE = "Servable"
    """An engine of this version loads its weights."""
    PLANNED = "Planned"
    """The model fits; the message explains how it is cut."""
    LEADER_WORKER_SET_MISSING = "LeaderWorkerSetMissing"
    """One copy needs several pods, and the cluster lacks the API that keeps them together."""
    DEVICE_CLAIMS_MISSING = "DeviceClaimsMissing"
    """A device class is asked for, and the cluster has no dynamic resource allocation."""
    QUEUE_MISSING = "QueueMissing"
    """A queue is asked for, and nothing in the cluster admits by queues."""
    NETWORK_NOT_ALLOWED = "NetworkNotAllowed"
    """The network profile is unknown, or the platform does not offer it."""
    WEIGHTS_PREPARING = "Preparing"
    """The weights Job is running."""
    WEIGHTS_PREPARED = "Prepared"
    """The weights are there and checked, the tokenizer is published."""
    WEIGHTS_FAILED = "WeightsFailed"
    """The weights Job failed; it is tried again later."""
    WEIGHTS_MISMATCH = "WeightsMismatch"
    """The files are a model of other dimensions than the one they were registered as; nothing of them was kept."""
    WEIGHTS_CHECKSUM_MISMATCH = "WeightsChecksumMismatch"
    """The source gives another file than the one that is named, also at a second try; tried again ever more rarely."""
    WEIGHTS_VOLUME_FULL = "WeightsVolumeFull"
    """The weights volume has no room; the message says how many bytes are needed."""
    SOURCE_NOT_ALLOWED = "SourceNotAllowed"
    """A tenant's model names a server or a claim that the platform does not fetch from."""
    DOWNLOAD_DENIED = "DownloadDenied"
    """The control plane refuses the download."""
    CONTROL_PLANE_UNREACHABLE = "ControlPlaneUnreachable"
    """The control plane did not answer where it was needed; tried again."""
    APPLY_FAILED = "ApplyFailed"
    """The API server refused an object of the operator; tried again."""
    IMAGE_PINNED = "ImagePinned"
    """The image is named by its digest."""
    IMAGE_NOT_PINNED = "ImageNotPinned"
    """The image's digest is not known: it is used only where the platform allows it; `paddock images pin` mends it."""
    ENGINE_BUILDING = "Building"
    """The engine Job is running."""
    ENGINE_READY = "EngineReady"
    """The engine was built, and verified by loading it."""
    BUILD_FAILED = "BuildFailed"
    """The engine Job failed; it is tried again later."""
    ENGINE_INCOMPATIBLE = "EngineIncompatible"
    """The engine is of another TensorRT, or for other GPUs, than there are; no server is started over and over."""
    ENGINE_UNSUPPORTED = "EngineUnsupported"
    """No engine can be compiled for this plan."""
    SCHEDULED = "Scheduled"
    """Every pod has a node."""
    INSUFFICIENT_GPU = "InsufficientGPU"
    """A pod finds no node with enough free GPUs."""
    INSUFFICIENT_RESOURCES = "InsufficientResources"
    """A pod finds no node with enough free processors, memory or network devices."""
    UNSCHEDULABLE = "Unschedulable"
    """A pod finds no node that it may run on: node selector, taints, topology or volumes keep it from all."""
    QUEUED = "Queued"
    """A pod waits for its queue to admit it."""
    PODS_PENDING = "PodsPending"
    """Pods are being created."""
    PODS_REFUSED = "PodsRefused"
    """The API server lets no pod be created: a quota or an admission policy of the serving namespace."""
    POD_EVICTED = "PodEvicted"
    """A node refused or ended a pod, and no other one has come yet."""
    IMAGE_PULL_FAILED = "ImagePullFailed"
    """The image of a pod cannot be had."""
    CONTAINER_CONFIG_INVALID = "ContainerConfigInvalid"
    """A container cannot be created as it is described: a Secret, a key of it or a device is missing."""
    CRASH_LOOPING = "CrashLooping"
    """The engine ended, and is started again; the message has its last words."""
    ENGINE_OUT_OF_MEMORY = "EngineOOM"
    """The engine ended for want of memory: its container's, or its GPU's."""
    ENVIRONMENT_NOT_READY = "EnvironmentNotReady"
    """The image or the node lacks something that the engine needs."""
    WORKER_JOIN_TIMEOUT = "WorkerJoinTimeout"
    """The leader of a group waited in vain for its workers."""
    GROUP_FAILED = "GroupFailed"
    """The ranks of a group ended, or a worker was lost: the group is made anew."""
    LOADING = "Loading"
    """The engine is loading the weights."""
    PROBE_FAILED = "ProbeFailed"
    """A pod is ready but did not answer a generation of one token."""
    SERVING = "Serving"
    """At least one copy answered a generation of one token."""
    ROLLING_OUT = "RollingOut"
    """Copies of the present specification come up beside or after the former ones."""
    STOPPED = "Stopped"
    """spec.replicas is 0."""
    DRAINING = "Draining"
    """Requests are led elsewhere; the pods go when the gateways have heard."""
    NOT_SERVED = "NotServed"
    """An earlier condition keeps it from being served."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
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


PHASES = {
    ConditionType.ACCEPTED: "Invalid",
    ConditionType.LICENSE_ACCEPTED: "LicenseRequired",
    ConditionType.PLANNED: "Unplannable",
    ConditionType.WEIGHTS_READY: "Preparing",
    ConditionType.IMAGE_ACCEPTED: "ImageNotPinned",
    ConditionType.ENGINE_READY: "Building",
    ConditionType.SCHEDULED: "Scheduling",
    ConditionType.SERVING: "Starting",
}
"""The word for the first condition that does not hold."""


def phase(conditions: Iterable[Condition]) -> str:
    """One word for people: that of the first condition that does not hold. Never read back."""
    ordered = {condition.type: condition for condition in conditions}
    serving = ordered.get(ConditionType.SERVING)
    if serving is not None and serving.reason in (ConditionReason.STOPPED, ConditionReason.DRAINING):
        return serving.reason
    accepted = ordered.get(ConditionType.ACCEPTED)
    if accepted is not None and accepted.reason == ConditionReason.DELETING:
        return "Terminating"
    for kind, word in PHASES.items():
        condition = ordered.get(kind)
        if condition is not None and condition.status != TRUE:
            return word if condition.status == FALSE else "Unknown"
    return "Serving" if serving is not None else "Pending"
