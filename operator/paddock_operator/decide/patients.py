"""A copy as healing sees it: the object that makes its pods, and the pods."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from paddock_core.resources import names

from paddock_operator.decide.causes import is_over
from paddock_operator.decide.refusals import is_refused, is_taken_up
from paddock_operator.observed import Child, label_of
from paddock_operator.times import parse_time

MAX_SPENT = 50
"""Pods that are over and are deleted in one round: so many writes hold nobody else up for long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """A copy that is wanted, with its pods, also those that are being deleted."""

    name: str
    revision: str
    size: int
    """Pods that make it up."""
    workload: Child | None
    """What makes its pods; None while it is not there."""
    pods: Sequence[Child] = ()
    answers: bool = False
    unasked: bool = False
    """True where its leader is ready and nobody has asked it yet: it counts as answering, and proves nothing."""
    silent: Mapping[str, float] = field(default_factory=dict)
    """Uid of a pod to the seconds for which it has been asked for a token in vain."""
    problems: Mapping[str, str | None] = field(default_factory=dict)
    """Uid of a pod to what came instead, None where it answers."""
    avoids: tuple[str, ...] = ()
    """Nodes that it was told to keep off when it was made."""
    gang: bool = False
    """True where its pods get nodes together or not at all, so that it never holds a part of its devices."""
    living: Sequence[Child] = field(init=False)
    """Those of the pods that are not being deleted."""
    holding: Sequence[Child] = field(init=False)
    """Those of the living that are not over: what is over holds no device, wherever it was."""
    leader: Child | None = field(init=False)
    """The pod that answers for it, unless that is being deleted or over."""

    def __post_init__(self) -> None:
        """Asked for a dozen times in a round, so found once."""
        living = [pod for pod in self.pods if not pod.going]
        holding = [pod for pod in living if not is_over(pod.manifest)]
        leader = next((pod for pod in holding if _leads(pod)), None)
        for name, found in (("living", living), ("holding", holding), ("leader", leader)):
            object.__setattr__(self, name, found)

    @property
    def there(self) -> bool:
        """True if there is a workload to be taken down."""
        return self.workload is not None and not self.workload.going

    @property
    def grouped(self) -> bool:
        return self.size > 1

    @property
    def workers(self) -> list[Child]:
        return [pod for pod in self.living if not _leads(pod)]

    @property
    def nodes(self) -> set[str]:
        """Nodes that it depends on: of a group also those of pods that are being deleted, for it waits for them."""
        return {node for pod in (self.pods if self.grouped else self.holding) if (node := node_of(pod))}

    def of_workload(self) -> "Patient":
        """With those pods alone that its workload has made: pods of a former one may take a while to go."""
        if self.workload is None:
            return self
        since = created(self.workload)
        return replace(self, pods=[pod for pod in self.pods if created(pod) >= since])

    @property
    def refused(self) -> list[Child]:
        """Pods of its workload that their node refused, as long as no node has taken up another one in their place."""
        if self.grouped:
            return [pod for pod in self.present() if is_refused(pod.manifest)]
        if self.leader is not None and is_taken_up(self.leader.manifest):
            return []
        return [pod for pod in self.living if is_refused(pod.manifest) and self._made(pod)]

    @property
    def spent(self) -> list[Child]:
        """Some of the pods that its node refused before one took up another: they tell nothing any more."""
        up = not self.grouped and self.leader is not None and is_taken_up(self.leader.manifest)
        found = (pod for pod in self.living if up and is_refused(pod.manifest) and self._made(pod))
        return list(islice(found, MAX_SPENT))

    def _made(self, pod: Child) -> bool:
        """Whether its workload has made a pod; a pod that does not say who made it is held to be its own."""
        owners = pod.manifest["metadata"].get("ownerReferences") or ()
        uids = {str(owner["uid"]) for owner in owners if owner.get("controller")}
        return not uids or (self.workload is not None and self.workload.uid in uids)

    def present(self) -> list[Child]:
        """Pods whose ends are those of the copy as it is now: of a former group's pods some may still be going."""
        leader = self.leader
        if leader is None:
            return list(self.pods) if self.grouped else []
        return [pod for pod in self.pods if created(pod) >= created(leader)] if self.grouped else [leader]


def node_of(pod: Child) -> str:
    """The node of a pod; empty where it has none yet."""
    return str((pod.manifest.get("spec") or {}).get("nodeName") or "")


def devices_of(pod: Child) -> int:
    """Devices that a pod asks for by counted resources."""
    containers: Iterable[Mapping[str, Any]] = (pod.manifest.get("spec") or {}).get("containers") or ()
    limits = [(item.get("resources") or {}).get("limits") or {} for item in containers]
    return sum(int(value) for item in limits for name, value in item.items() if "/" in name and str(value).isdigit())


def created(child: Child) -> float:
    """When an object was made; 0 where it does not say."""
    text = child.manifest["metadata"].get("creationTimestamp")
    return parse_time(text) if text else 0.0


def ready_since(pod: Child) -> float | None:
    """Since when the kubelet holds a pod to be ready; None if it does not."""
    return _time(_condition(pod, "Ready")) if held_ready(pod) else None


def held_ready(pod: Child) -> bool:
    """True if the kubelet holds a pod to be ready."""
    return _condition(pod, "Ready").get("status") == "True"


def placed_since(pod: Child) -> float | None:
    """Since when a pod has a node; None if it has none."""
    return (_time(_condition(pod, "PodScheduled")) or created(pod)) if node_of(pod) else None


def quiet_since(pod: Child) -> float | None:
    """Since when a pod could answer and is not ready: it got a node, or stopped being ready. None if it is ready, or
    nothing is known."""
    item = _condition(pod, "Ready")
    since = _time(item) if item.get("status") == "False" else None
    return None if since is None else max(since, placed_since(pod) or 0.0)


def unplaced_since(pod: Child) -> float | None:
    """Since when the scheduler finds no node for a pod; None if it has one, or none was looked for."""
    item = _condition(pod, "PodScheduled")
    if node_of(pod) or item.get("status") == "True" or item.get("reason") != "Unschedulable":
        return None
    return _time(item) or created(pod)


def _leads(pod: Child) -> bool:
    return label_of(pod, names.WORKER_INDEX) in ("", names.LEADER_INDEX)


def _condition(pod: Child, kind: str) -> Mapping[str, Any]:
    conditions: Iterable[Mapping[str, Any]] = (pod.manifest.get("status") or {}).get("conditions") or ()
    return next((item for item in conditions if item["type"] == kind), {})


def _time(item: Mapping[str, Any]) -> float | None:
    return parse_time(item["lastTransitionTime"]) if item.get("lastTransitionTime") else None
