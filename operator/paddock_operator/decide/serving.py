"""Do the copies have nodes, and do they answer?"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from paddock_core.resources.conditions import ConditionReason, ConditionType, Finding, fails, holds

from paddock_operator.decide import causes, coming, lingering
from paddock_operator.decide.copies import Copy, is_ready
from paddock_operator.decide.outcome import Coming
from paddock_operator.kinds import LEADER_WORKER_SET, POD, REPLICA_SET
from paddock_operator.observed import Child, Observed

LATE_SECONDS = 60.0
"""What lasts so long is told by name: each text is a write of the status, and most pods come sooner."""

_HELD = (ConditionReason.INSUFFICIENT_GPU, ConditionReason.INSUFFICIENT_RESOURCES)
"""What a pod lacks that another one which does not end may hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What should be there."""

    copies: int
    min_available: int = 1
    pods_per_copy: int = 1
    gpu: str = ""
    """The resource by which the pods ask for GPUs."""
    by_load: bool = False
    """True where load says how many copies there are."""
    held: int = 0
    """Copies that are held back, so that no pod of them is wanted now."""
    refused: bool = False
    """True where more are asked for than the quota has room for."""

    @property
    def needed(self) -> int:
        """Copies that must answer for Serving to hold."""
        return min(self.min_available, self.copies)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The conditions Scheduled, Serving and Degraded, and when to look again."""

    findings: tuple[Finding, ...]
    look_after_seconds: float
    slowest: Coming | None = None
    """The copy to which nothing has happened for longest, of those that come up."""


def judge(
    observed: Observed,
    copies: Sequence[Copy],
    *,
    wanted: Wanted,
    endpoints: int,
    told: Sequence[causes.Cause] = (),
    note: str = "",
    probe_interval_seconds: float,
) -> Judgement:
    """What the copies say. `endpoints` is the number of copies that requests can go to, `told` what is known of copies
    that were taken down, `note` what a rollout waits for."""
    staying = [copy for copy in copies if not copy.going and not copy.draining]
    pods = [pod for copy in staying for pod in copy.pods]
    trouble = _trouble(observed, pods, told, wanted.gpu)
    found = coming.of(copies)
    soon = probe_interval_seconds if endpoints else 30.0
    if observed.probe_after_seconds is not None:
        soon = min(soon, observed.probe_after_seconds)
    note = "; ".join(item for item in (note, _doubt(observed), lingering.told(_stuck(observed))) if item)
    return Judgement(
        findings=(
            *_scheduled(observed, pods, wanted),
            _serving(endpoints, wanted, trouble=trouble, note=note, waits=_waits(found, now=observed.now)),
            *_degraded(endpoints, wanted, trouble),
        ),
        look_after_seconds=soon,
        slowest=next(iter(found), None),
    )


def _scheduled(observed: Observed, pods: Sequence[Child], wanted: Wanted) -> tuple[Finding, ...]:
    """Nothing where no pod is wanted."""
    if wanted.copies <= wanted.held:
        return ()
    kind = ConditionType.SCHEDULED
    alive = [pod.manifest for pod in pods if not causes.is_over(pod.manifest)]
    cause = next((cause for pod in alive if (cause := causes.unplaced(pod, gpu=wanted.gpu))), None)
    if cause is not None:
        cause = _held(observed, cause)
        return (fails(kind, cause.reason, cause.advised),)
    placed = sum(1 for pod in alive if (pod.get("spec") or {}).get("nodeName"))
    all_pods = (wanted.copies - wanted.held) * wanted.pods_per_copy
    text = counted(placed, all_pods, "pods have a node")
    if placed >= all_pods:
        return (holds(kind, ConditionReason.SCHEDULED, text),)
    refused = _refused(observed)
    if refused is not None:
        return (fails(kind, refused.reason, f"{text}: {refused.advised}"),)
    return (fails(kind, ConditionReason.PODS_PENDING, text),)


def _doubt(observed: Observed) -> str:
    if not observed.doubted:
        return ""
    return (
        f"the operator's probes of {observed.doubted} of them fail, as most do on the platform: its own way to pods is"
        " doubted, so none is dropped"
    )


def counted(there: int, wanted: int, what: str) -> str:
    """How many there are of how many. There may be more than are wanted, as in a rollout."""
    return f"{there} of {wanted} {what}" if there <= wanted else f"{there} {what}, {wanted} wanted"


def _waits(found: Sequence[Coming], *, now: float) -> tuple[ConditionReason, str]:
    """What the copy that is nearest to answering waits for."""
    loading = next((item for item in found if item.reason == ConditionReason.LOADING), None)
    if loading is not None:
        return loading.reason, "the engine is loading the weights"
    late = [item for item in found if now - item.since >= LATE_SECONDS]
    return ConditionReason.PODS_PENDING, late[0].text if late else "pods are being created"


def _serving(
    endpoints: int, wanted: Wanted, *, trouble: causes.Cause | None, note: str, waits: tuple[ConditionReason, str]
) -> Finding:
    kind = ConditionType.SERVING
    count = counted(endpoints, wanted.copies, "copies answered a generation")
    told = f"{count}; {note}" if note else count
    if endpoints and endpoints >= wanted.needed:
        return holds(kind, ConditionReason.SERVING, told)
    if wanted.copies == 0 and wanted.refused:
        text = "the GPU quota has no room for a copy: the condition QuotaAvailable says what is lacking"
        return fails(kind, ConditionReason.NOT_SERVED, text)
    if wanted.copies == 0 and wanted.by_load:
        return fails(
            kind, ConditionReason.SCALED_TO_ZERO, "nobody asks, so no copy is kept: the next request starts one"
        )
    if wanted.copies == 0:
        return fails(kind, ConditionReason.STOPPED, "spec.replicas is 0: set it to 1 or more to serve")
    if endpoints:
        text = f"{told}, and spec.minAvailable asks for {wanted.needed}"
        text = f"{text}; {trouble.advised}" if trouble else text
        return fails(kind, ConditionReason.TOO_FEW_AVAILABLE, text)
    if trouble is not None:
        return fails(kind, trouble.reason, trouble.advised)
    return fails(kind, *waits)


def _degraded(endpoints: int, wanted: Wanted, trouble: causes.Cause | None) -> tuple[Finding, ...]:
    """Only while something answers: else Serving says all."""
    if not endpoints or wanted.copies == 0 or trouble is None:
        return ()
    text = f"{counted(endpoints, wanted.copies, 'copies answer')}; {trouble.advised}"
    return (holds(ConditionType.DEGRADED, trouble.reason, text),)


def _trouble(observed: Observed, pods: Sequence[Child], told: Iterable[causes.Cause], gpu: str) -> causes.Cause | None:
    """What keeps a copy from answering and does not mend by waiting alone: one that was given up first."""
    known = sorted(told, key=lambda cause: cause.reason != ConditionReason.GROUP_FAILED)
    if known and known[0].reason == ConditionReason.GROUP_FAILED:
        return known[0]
    cause = causes.root_cause((pod.manifest for pod in pods), gpu=gpu, warned=observed.warned)
    if cause is not None:
        return _held(observed, cause)
    if known:
        return known[0]
    for pod in pods:
        answer = observed.probes.get(pod.uid)
        if is_ready(pod) and answer:
            text = f"{causes.placed(pod.manifest)} is ready but generates nothing: {answer}"
            return causes.Cause(reason=ConditionReason.PROBE_FAILED, message=text)
    return _refused(observed)


def _stuck(observed: Observed) -> list[Child]:
    """Pods that were deleted, should have ended long since, and hold what they have."""
    late = (child for child in observed.children if child.kind == POD and lingering.is_late(child, observed.now))
    return [pod for pod in late if not causes.is_over(pod.manifest)]


def _held(observed: Observed, cause: causes.Cause) -> causes.Cause:
    """A lack of room while pods that do not end hold some: then not nodes are lacking first of all."""
    stuck = _stuck(observed) if cause.reason in _HELD else []
    if not stuck:
        return cause
    text = f"{lingering.told(stuck)}; a copy waits for what it holds: {cause.message}"
    return causes.Cause(reason=ConditionReason.PODS_STUCK, message=text)


def _refused(observed: Observed) -> causes.Cause | None:
    """Set where the controller of a copy cannot create pods, as it says (quota, admission)."""
    for child in observed.children:
        if child.kind == LEADER_WORKER_SET:
            cause = causes.of_events(child.manifest, warned=observed.warned)
            if cause is not None:
                return cause
        if child.kind == REPLICA_SET:
            for item in (child.manifest.get("status") or {}).get("conditions") or ():
                if item["type"] == "ReplicaFailure" and item["status"] == "True":
                    text = f"no pod can be created: {item.get('message', '')}"[: causes.MAX_WORDS]
                    return causes.Cause(reason=ConditionReason.PODS_REFUSED, message=text)
    return None
