"""What does not go though it should: what was deleted and is still there, and pods that nobody will ever end."""

from collections.abc import Iterable, Sequence

from paddock_core.resources import names

from paddock_operator.decide.patients import node_of
from paddock_operator.decide.revisions import WORKLOADS
from paddock_operator.kinds import POD
from paddock_operator.observed import Child, label_of
from paddock_operator.times import parse_time

LATE_SECONDS = 30.0
"""So much later than its grace a pod may be gone: kubelets tell it with a delay."""
MOST_NAMED = 3


def is_late(child: Child, now: float) -> bool:
    """True if it was deleted, and should have gone long since."""
    # Of a pod the API server writes here when its grace will have ended.
    at = child.manifest["metadata"].get("deletionTimestamp")
    return bool(at) and now > parse_time(str(at)) + LATE_SECONDS


def orphans(children: Iterable[Child]) -> list[Child]:
    """Pods that no controller has made or holds, and that none will take up: somebody deleted what made them and left
    them there, or took off the labels that it knows them by. Nobody but us ends them."""
    found = tuple(children)
    makers = {(child.namespace, child.name) for child in found if child.kind in WORKLOADS and not child.going}
    pods = (child for child in found if child.kind == POD and not child.going and not _is_controlled(child))
    return [pod for pod in pods if (pod.namespace, label_of(pod, names.COPY)) not in makers]


def _is_controlled(pod: Child) -> bool:
    owners = pod.manifest["metadata"].get("ownerReferences") or ()
    return any(owner.get("controller") for owner in owners)


def told(children: Sequence[Child]) -> str:
    """Words on what was deleted and does not go, by name, with where it is and who holds it; empty where there is
    nothing."""
    named = [_told(child) for child in children[:MOST_NAMED]]
    more = len(children) - len(named)
    return "; ".join(named) + (f"; and {more} more" if more > 0 else "")


def _told(child: Child) -> str:
    metadata, node = child.manifest["metadata"], node_of(child)
    where = f" on {node}" if child.kind == POD and node else ""
    held = ", ".join(metadata.get("finalizers") or ())
    holds = f"the finalizers {held} hold it" if held else "it has no finalizers, so its node does not end it"
    holds = holds if held or child.kind == POD else "it has no finalizers"
    return (
        f"{child.kind.name} {child.namespace}/{child.name}{where} should have ended at"
        f" {metadata['deletionTimestamp']} and has not: {holds}"
    )
