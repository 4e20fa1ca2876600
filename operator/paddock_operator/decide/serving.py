"""Do the pods have nodes, and do they answer?"""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from paddock_core.resources import names
from paddock_core.resources.conditions import ConditionReason, ConditionType, Finding, fails, holds
from paddock_core.resources.llamadeployment import Endpoint, RoutingStatus
from paddock_core.serving.contract import HTTP_PORT

from paddock_operator.decide import causes
from paddock_operator.kinds import DEPLOYMENT, LEADER_WORKER_SET
from paddock_operator.observed import Child, Observed

RETRY_PROBE_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The conditions Scheduled, Serving and Degraded, the endpoints that answer, and the pods that exist."""

    findings: tuple[Finding, ...]
    endpoints: tuple[Endpoint, ...] = ()
    replicas: int = 0
    """Copies that exist, whether they answer or not."""
    groups: int = 0
    ready_groups: int = 0
    rolling: bool = False
    """True while pods of another rendering than the one that is asked for are there."""
    look_after_seconds: float | None = None


def judge(
    observed: Observed,
    *,
    rendering: str,
    current: str | None = None,
    wanted: int,
    pods_per_copy: int = 1,
    gpu: str = "",
    probe_interval_seconds: float,
) -> Judgement:
    """What the pods say. `wanted` is the number of copies that should run.

    Only pods of `rendering` are endpoints, none if it is empty: what else answers may run another model. `current` is
    the rendering that the specification asks for, where it is known; if it is another one, the message says that the
    present specification is still to come. `gpu` is the resource by which the pods ask for GPUs.
    """
    pods = [pod for pod in observed.pods() if not pod.going]
    leaders = [pod for pod in observed.leaders() if not pod.going]
    answering = [pod for pod in leaders if rendering and rendering_of(pod) == rendering and answers(observed, pod)]
    endpoints = tuple(Endpoint(pod=pod.name, url=pod_url(pod)) for pod in answering)
    coming = [pod for pod in pods if rendering_of(pod) == current] if current not in (None, rendering) else None
    unproven = [pod for pod in leaders if is_ready(pod) and not answers(observed, pod)]
    trouble = _trouble(observed, pods, gpu)
    groups = [child for child in observed.children if child.kind == LEADER_WORKER_SET]
    return Judgement(
        findings=(
            *_scheduled(observed, pods, wanted * pods_per_copy, gpu),
            _serving(pods, endpoints, wanted, coming=coming, trouble=trouble, gpu=gpu),
            *_degraded(endpoints, wanted, trouble),
        ),
        endpoints=endpoints,
        replicas=len(leaders),
        groups=len(groups),
        ready_groups=sum(1 for group in groups if group.manifest.get("status", {}).get("readyReplicas")),
        rolling=current is not None and any(rendering_of(pod) != current for pod in leaders),
        look_after_seconds=RETRY_PROBE_SECONDS if unproven else probe_interval_seconds if endpoints else 30.0,
    )


def settle(observed: Observed, *, new: RoutingStatus, former: RoutingStatus | None) -> RoutingStatus:
    """The routing to publish, still without looking at its endpoints: the former one stays as long as only its pods
    may answer, the new one comes with the first pod that runs it."""
    if former is None or former.rendering == new.rendering:
        return new
    pods = [pod for pod in observed.leaders() if not pod.going]
    if any(rendering_of(pod) == new.rendering and answers(observed, pod) for pod in pods):
        return new
    return former if any(rendering_of(pod) == former.rendering for pod in pods) else new


def rendering_of(pod: Child) -> str:
    """Digest of what a pod was rendered from; empty if it does not say."""
    return str((pod.manifest["metadata"].get("annotations") or {}).get(names.RENDERING, ""))


def with_endpoints(routing: RoutingStatus, endpoints: tuple[Endpoint, ...]) -> RoutingStatus:
    """The same routing with these endpoints."""
    return msgspec.structs.replace(routing, endpoints=endpoints)


def is_ready(pod: Child) -> bool:
    """True if the kubelet's readiness probe holds and the pod has an address."""
    status = pod.manifest.get("status", {})
    ready = any(item["type"] == "Ready" and item["status"] == "True" for item in status.get("conditions") or ())
    return ready and bool(status.get("podIP"))


def pod_url(pod: Child) -> str:
    """Triton's HTTP address in a pod."""
    address = pod.manifest["status"]["podIP"]
    host = f"[{address}]" if ":" in address else address
    return f"http://{host}:{HTTP_PORT}"


def answers(observed: Observed, pod: Child) -> bool:
    """True if the pod has generated a token lately."""
    return is_ready(pod) and pod.uid in observed.probes and observed.probes[pod.uid] is None


def _scheduled(observed: Observed, pods: Sequence[Child], wanted: int, gpu: str) -> tuple[Finding, ...]:
    """Nothing where no pod is wanted."""
    if wanted == 0:
        return ()
    kind = ConditionType.SCHEDULED
    alive = [pod.manifest for pod in pods if not causes.is_over(pod.manifest)]
    cause = next((cause for pod in alive if (cause := causes.unplaced(pod, gpu=gpu))), None)
    if cause is not None:
        return (fails(kind, cause.reason, cause.advised),)
    placed = sum(1 for pod in alive if pod.get("spec", {}).get("nodeName"))
    text = f"{placed} of {wanted} pods have a node"
    if placed >= wanted:
        return (holds(kind, ConditionReason.SCHEDULED, text),)
    refused = _refused(observed)
    if refused is not None:
        return (fails(kind, refused.reason, f"{text}: {refused.advised}"),)
    return (fails(kind, ConditionReason.PODS_PENDING, text),)


def _serving(
    pods: Sequence[Child],
    endpoints: Sequence[Endpoint],
    wanted: int,
    *,
    coming: Sequence[Child] | None,
    trouble: causes.Cause | None,
    gpu: str,
) -> Finding:
    kind = ConditionType.SERVING
    if endpoints and coming is not None:
        text = f"{len(endpoints)} copies of the former specification answer until one of the present one does"
        cause = causes.root_cause((pod.manifest for pod in coming), gpu=gpu)
        return holds(kind, ConditionReason.SERVING, f"{text}; {cause.message}" if cause else text)
    if endpoints:
        return holds(kind, ConditionReason.SERVING, f"{len(endpoints)} of {wanted} copies answered a generation")
    if wanted == 0:
        return fails(kind, ConditionReason.STOPPED, "spec.replicas is 0: set it to 1 or more to serve")
    if trouble is not None:
        return fails(kind, trouble.reason, trouble.advised)
    if not pods:
        return fails(kind, ConditionReason.PODS_PENDING, "pods are being created")
    return fails(kind, ConditionReason.LOADING, "the engine is loading the weights")


def _degraded(endpoints: Sequence[Endpoint], wanted: int, trouble: causes.Cause | None) -> tuple[Finding, ...]:
    """Only while it serves: where nothing answers, Serving says all."""
    if not endpoints or wanted == 0 or trouble is None:
        return ()
    text = f"{len(endpoints)} of {wanted} copies answer; {trouble.advised}"
    return (holds(ConditionType.DEGRADED, trouble.reason, text),)


def _trouble(observed: Observed, pods: Sequence[Child], gpu: str) -> causes.Cause | None:
    """What keeps a copy from answering and does not mend by waiting alone."""
    cause = causes.root_cause((pod.manifest for pod in pods), gpu=gpu, warned=observed.warned)
    if cause is not None:
        return cause
    for pod in pods:
        answer = observed.probes.get(pod.uid)
        if is_ready(pod) and answer:
            text = f"pod {pod.name} is ready but generates nothing: {answer}"
            return causes.Cause(reason=ConditionReason.PROBE_FAILED, message=text)
    return _refused(observed)


def _refused(observed: Observed) -> causes.Cause | None:
    """Set where the controller of a Deployment or of a group cannot create pods, as it says (quota, admission)."""
    for child in observed.children:
        if child.kind == LEADER_WORKER_SET:
            cause = causes.of_events(child.manifest, warned=observed.warned)
            if cause is not None:
                return cause
        if child.kind == DEPLOYMENT:
            for item in child.manifest.get("status", {}).get("conditions") or ():
                if item["type"] == "ReplicaFailure" and item["status"] == "True":
                    text = f"no pod can be created: {item.get('message', '')}"[: causes.MAX_WORDS]
                    return causes.Cause(reason=ConditionReason.PODS_REFUSED, message=text)
    return None
