"""Copies: what is there of them, read from workloads and pods alone."""

from collections.abc import Iterable
from dataclasses import dataclass

from paddock_core.resources import names
from paddock_core.resources.conditions import ConditionReason
from paddock_core.resources.llamadeployment import Endpoint
from paddock_core.serving.contract import HTTP_PORT

from paddock_operator.decide import causes
from paddock_operator.decide.lingering import is_late
from paddock_operator.decide.revisions import WORKLOADS
from paddock_operator.kinds import POD
from paddock_operator.observed import Child, Observed, label_of
from paddock_operator.times import parse_time

ROOM = (ConditionReason.INSUFFICIENT_GPU, ConditionReason.INSUFFICIENT_RESOURCES, ConditionReason.QUEUED)
"""Why a pod has no node where another one that goes may make room for it."""
_ROOM_WORDS = ("anti-affinity rules", "Too many pods")
"""The scheduler's words for the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """One copy of the model: a workload object, and the pods that its controller makes."""

    name: str
    revision: str
    index: int
    workload: Child | None
    """None where only pods are left of it."""
    pods: tuple[Child, ...]
    """Without those that are going."""
    leaving: tuple[Child, ...] = ()
    """Pods that are going."""
    leader: Child | None = None
    """The pod that answers for it."""
    size: int = 1
    """Pods that it consists of."""
    answering: bool | None = False
    """Whether its leader has generated a token lately; None: it is ready and was not asked yet."""
    unplaced: causes.Cause | None = None
    """Why the scheduler finds no node for one of its pods."""
    draining_since: float | None = None
    """Unix seconds; None while it may be routed to."""
    avoids: tuple[str, ...] = ()
    """Nodes that it keeps off; those marked `node_faults.LAST_CHOICE` as far as it can."""
    born_at: float = 0.0

    @property
    def going(self) -> bool:
        """True while it is being deleted: its name is not free yet."""
        return self.workload is None or self.workload.going

    def stuck(self, now: float) -> bool:
        """True if it was deleted, should have gone long since, and may hold its devices for ever."""
        left = self.leaving or (() if self.workload is None else (self.workload,))
        return self.going and not self.pods and all(is_late(child, now) for child in left)

    @property
    def draining(self) -> bool:
        return self.draining_since is not None

    @property
    def starved(self) -> bool:
        """True if it has no nodes for want of what another copy may hold: devices, memory, a place in a queue. A node
        selector, a taint or a volume that no node meets is met by none once others have gone."""
        cause = self.unplaced
        return cause is not None and (cause.reason in ROOM or any(words in cause.message for words in _ROOM_WORDS))

    @property
    def queued(self) -> bool:
        """True if it waits for its turn, and not for anything to be mended."""
        return self.unplaced is not None and self.unplaced.reason == ConditionReason.QUEUED

    @property
    def url(self) -> str:
        """Base URL of its Triton; empty while its leader has no address."""
        return "" if self.leader is None else pod_url(self.leader)

    @property
    def endpoint(self) -> Endpoint | None:
        """Where it answers; None where it does not."""
        if self.leader is None or not self.answering or not self.url:
            return None
        return Endpoint(pod=self.leader.name, url=self.url)


def of(observed: Observed, *, namespace: str | None = None, gpu: str = "") -> tuple[Copy, ...]:
    """The copies that are there, going ones too, by revision and number. `gpu` is what its pods ask for GPUs by."""
    workloads: dict[str, Child] = {}
    pods: dict[str, list[Child]] = {}
    for child in observed.children:
        name = label_of(child, names.COPY)
        if not name or (namespace is not None and child.namespace != namespace):
            continue
        if child.kind in WORKLOADS:
            workloads[name] = child
        elif child.kind == POD:
            pods.setdefault(name, []).append(child)
    found = (_copy(observed, name, workloads.get(name), pods.get(name, ()), gpu) for name in {*workloads, *pods})
    return tuple(sorted(found, key=lambda copy: (copy.revision, copy.index, copy.name)))


def number_of(name: str) -> int:
    """The number of a copy by its name; 0 where it has none, as what others wrote."""
    number = name.rpartition("-")[2]
    return int(number) if number.isdecimal() else 0


def revisions(observed: Observed, *, namespace: str) -> set[str]:
    """Names of the revisions of which there are copies, or pods of some."""
    found = [child for child in observed.children if child.kind in (*WORKLOADS, POD) and child.namespace == namespace]
    return {label_of(child, names.REVISION) for child in found if label_of(child, names.COPY)}


def _copy(observed: Observed, name: str, workload: Child | None, pods: Iterable[Child], gpu: str) -> Copy:
    ordered = sorted(pods, key=lambda pod: pod.name)
    staying = tuple(pod for pod in ordered if not pod.going)
    one = workload or ordered[0]
    noted = {} if workload is None else workload.manifest["metadata"].get("annotations") or {}
    leader = _leader(staying)
    alive = [pod.manifest for pod in staying if not causes.is_over(pod.manifest)]
    return Copy(
        name=name,
        revision=label_of(one, names.REVISION),
        index=number_of(name),
        workload=workload,
        pods=staying,
        leaving=tuple(pod for pod in ordered if pod.going),
        leader=leader,
        size=1 if workload is None else _size(workload),
        answering=_answering(observed, leader),
        unplaced=next((cause for pod in alive if (cause := causes.unplaced(pod, gpu=gpu))), None),
        draining_since=_time(noted.get(names.DRAINING)),
        avoids=tuple(item for item in str(noted.get(names.AVOIDS, "")).split(",") if item),
        born_at=_time(one.manifest["metadata"].get("creationTimestamp")) or 0.0,
    )


def _leader(pods: tuple[Child, ...]) -> Child | None:
    """The pod that answers: a ready one before one that is not, where a new one stands in for one that is over."""
    leaders = [pod for pod in pods if label_of(pod, names.WORKER_INDEX) in ("", names.LEADER_INDEX)]
    leaders = [pod for pod in leaders if not causes.is_over(pod.manifest)] or leaders
    return next((pod for pod in leaders if is_ready(pod)), leaders[-1] if leaders else None)


def _answering(observed: Observed, leader: Child | None) -> bool | None:
    if leader is None or not is_ready(leader):
        return False
    return observed.probes[leader.uid] is None if leader.uid in observed.probes else None


def is_ready(pod: Child) -> bool:
    """True if the kubelet's readiness probe holds and the pod has an address."""
    status = pod.manifest.get("status") or {}
    ready = any(item["type"] == "Ready" and item["status"] == "True" for item in status.get("conditions") or ())
    return ready and bool(status.get("podIP"))


def pod_url(pod: Child, *, port: int = HTTP_PORT) -> str:
    """Triton's HTTP address in a pod, or that of another port; empty while it has none."""
    address = str((pod.manifest.get("status") or {}).get("podIP") or "")
    host = f"[{address}]" if ":" in address else address
    return f"http://{host}:{port}" if host else ""


def _size(workload: Child) -> int:
    spec = workload.manifest.get("spec") or {}
    return int((spec.get("leaderWorkerTemplate") or {}).get("size", 1))


def _time(text: object) -> float | None:
    """Unix seconds of an RFC 3339 time; None where there is none, or somebody wrote nonsense."""
    try:
        return parse_time(str(text)) if text else None
    except ValueError:
        return None
