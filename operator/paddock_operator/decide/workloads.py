"""What is applied and what goes, where the pods of a deployment hang on objects that cannot be changed in place.

A group is replaced, never changed: its controller would only re-create its pods as well, and an admission queue refuses
changes. Groups are replaced one after the other, so that a change never takes more than one copy of several away.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from paddock_core.resources import names

from paddock_operator.decide.actions import Action, Apply, Delete
from paddock_operator.decide.serving import answers
from paddock_operator.kinds import (
    DEPLOYMENT,
    INFERENCE_POOL,
    LEADER_WORKER_SET,
    NETWORK_POLICY,
    POD_GROUP,
    POD_MONITOR,
    RESOURCE_CLAIM_TEMPLATE,
    Kind,
    kind_of,
)
from paddock_operator.observed import Child, Observed, label_of
from paddock_operator.ports import Manifest

WORKLOADS = (DEPLOYMENT, LEADER_WORKER_SET)
"""Kinds that make the serving pods."""
_COMES_AND_GOES = (
    *WORKLOADS,
    POD_GROUP,
    RESOURCE_CLAIM_TEMPLATE,
    NETWORK_POLICY,
    POD_MONITOR,
    INFERENCE_POOL,
)
"""Kinds of which a deployment has one today and perhaps none tomorrow."""
_ORDINARY = ("cpu", "memory", "ephemeral-storage")


def actions(observed: Observed, manifests: Sequence[Manifest], *, settled: bool) -> tuple[Action, ...]:
    """The writes of a round. `settled` says that the pods of these manifests are the ones that requests go to."""
    groups = [manifest for manifest in manifests if kind_of(manifest) == LEADER_WORKER_SET]
    replaced = _replaced(observed, groups)
    kept = {_place(manifest) for manifest in manifests}
    applied = [Apply(manifest=manifest) for manifest in manifests if _may_apply(observed, manifest)]
    surplus = [child for child in _surplus(observed, kept) if settled or not _may_wait(child)]
    going = sorted((*replaced, *surplus), key=_order)
    return (*applied, *(_delete(child) for child in going))


def _replaced(observed: Observed, groups: Sequence[Manifest]) -> list[Child]:
    """Groups that go now because they were rendered otherwise: all that do not answer, and one that does, while every
    other copy answers."""
    outdated, others = [], 0
    for manifest in groups:
        child = observed.child(LEADER_WORKER_SET, manifest["metadata"]["name"])
        if child is not None and not child.going and not _same(child, manifest):
            outdated.append(child)
        elif child is None or not _group_answers(observed, child.name):
            others += 1
    silent = [child for child in outdated if not _group_answers(observed, child.name)]
    serving = [child for child in outdated if child not in silent]
    return silent if silent or others else serving[:1]


def _may_apply(observed: Observed, manifest: Manifest) -> bool:
    """A group is applied only if it is new, with no pod of a former one left, or if its pods stay as they are."""
    if kind_of(manifest) != LEADER_WORKER_SET:
        return True
    name = manifest["metadata"]["name"]
    child = observed.child(LEADER_WORKER_SET, name)
    if child is None:
        return not any(label_of(pod, names.GROUP) == name for pod in observed.pods())
    return not child.going and _same(child, manifest)


def _same(child: Child, manifest: Manifest) -> bool:
    """True if it was made from the same rendering. What others changed of it since is put right in place."""
    live, wanted = (item["metadata"].get("annotations") or {} for item in (child.manifest, manifest))
    return bool(live.get(names.RENDERING) == wanted[names.RENDERING])


def _group_answers(observed: Observed, group: str) -> bool:
    leaders = (pod for pod in observed.leaders() if label_of(pod, names.GROUP) == group and not pod.going)
    return any(answers(observed, pod) for pod in leaders)


def _may_wait(child: Child) -> bool:
    """True for pods that stand in nobody's way: those of another kind may then serve until the new ones answer."""
    return child.kind in WORKLOADS and not any(_holds_devices(spec) for spec in _pod_specs(child))


def _surplus(observed: Observed, kept: set[tuple[Kind, str, str]]) -> Iterable[Child]:
    """What an earlier specification asked for and this one does not, in the namespace of what is rendered."""
    namespaces = {namespace for _kind, namespace, _name in kept}
    for child in observed.children:
        wanted = child.kind not in _COMES_AND_GOES or (child.kind, child.namespace, child.name) in kept
        if not wanted and not child.going and child.namespace in namespaces and not _guards(observed, child):
            yield child


def _guards(observed: Observed, child: Child) -> bool:
    """True for what the pods of a group need as long as there are any."""
    group = label_of(child, names.GROUP)
    return child.kind not in WORKLOADS and any(group and label_of(pod, names.GROUP) == group for pod in observed.pods())


def _pod_specs(child: Child) -> Iterable[dict[str, Any]]:
    spec = child.manifest.get("spec") or {}
    groups = spec.get("leaderWorkerTemplate") or {}
    for template in (spec.get("template"), groups.get("leaderTemplate"), groups.get("workerTemplate")):
        if template:
            yield template["spec"]


def _holds_devices(spec: dict[str, Any]) -> bool:
    limits = [(item.get("resources") or {}).get("limits") or {} for item in spec.get("containers") or ()]
    return "resourceClaims" in spec or any(name not in _ORDINARY for item in limits for name in item)


def _order(child: Child) -> tuple[int, int, str]:
    """Pods first; of the groups the last one first."""
    number = child.name.rpartition("-")[2]
    return (child.kind not in WORKLOADS, -int(number) if number.isdigit() else 0, child.name)


def _place(manifest: Manifest) -> tuple[Kind, str, str]:
    metadata = manifest["metadata"]
    return kind_of(manifest), str(metadata.get("namespace", "")), str(metadata["name"])


def _delete(child: Child) -> Delete:
    return Delete(kind=child.kind, namespace=child.namespace, name=child.name, uid=child.uid)
