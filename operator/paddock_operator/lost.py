"""Objects that others took the labels off by which they are followed: looked for by the names that their pods tell.

A watch with a label selector tells of such an object as of one that went. As long as it is there, nothing may be made
in its place: it holds the devices of its pods. The next write of it puts the labels back.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from paddock_core.resources import names

from paddock_operator.decide.revisions import TEMPLATE_KEY, WORKLOADS, name_in
from paddock_operator.errors import NotFoundError
from paddock_operator.forgetting import Remembered
from paddock_operator.kinds import CONFIG_MAP, LEADER_WORKER_SET, POD, REPLICA_SET, Kind
from paddock_operator.observed import Child, label_of
from paddock_operator.ports import Clock, Cluster, Manifest

AGAIN_SECONDS = 60.0
"""How soon it is asked again for what was not there."""
_OF_DEPLOYMENT = (
    names.MANAGED_BY,
    names.PART_OF,
    names.COMPONENT,
    names.TENANT,
    names.MODEL,
    names.DEPLOYMENT_NAMESPACE,
    names.DEPLOYMENT_NAME,
    names.DEPLOYMENT_UID,
    names.REVISION,
)
_OF_COPY = (*_OF_DEPLOYMENT, names.COPY, names.GROUP)
Place = tuple[Kind, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """An object that others tell of, and that is not among those that are followed."""

    place: Place
    """Kind, namespace and name."""
    labels: dict[str, str]
    """Those that it had."""
    uid: str
    """Of a ReplicaSet its own; of anything else that of whoever tells of it."""


@dataclass(frozen=True, slots=True)
class _Memory:
    asked_at: float


class LostBook:
    """Asks for each missing object, one that is not there at most once a minute. What is remembered can be thrown
    away."""

    def __init__(self, *, cluster: Cluster, clock: Clock) -> None:
        self._cluster = cluster
        self._clock = clock
        self._absent: Remembered[str, _Memory] = Remembered(seconds=AGAIN_SECONDS)

    def ended(self, uid: str) -> None:
        """Note that an object was deleted: its pods may outlive it a little, and it need not be asked for."""
        self._absent[uid] = _Memory(asked_at=self._clock.boottime())

    async def look(self, children: Callable[[], Sequence[Child]]) -> tuple[Child, ...]:
        """What is followed, as `children` says, and what is there beside that. Does not wait unless something is
        missing. Raises ClusterError: without an answer nothing may be made in a missing object's place."""
        asked: dict[Place, Child | None] = {}
        while True:
            seen = children()
            lost = [item for item in missing(seen) if not self._is_absent(item)]
            lacking = [item for item in lost if item.place not in asked]
            if not lacking:
                break
            for item in lacking:
                asked[item.place] = await self._ask(item)
        self._absent.forget(now=self._clock.boottime())
        found = {item.place: child for item in lost if (child := asked[item.place]) is not None}
        return (*(child for child in seen if _place(child) not in found), *found.values()) if found else tuple(seen)

    def _is_absent(self, item: Missing) -> bool:
        known = self._absent.get(item.uid)
        return known is not None and self._clock.boottime() - known.asked_at < AGAIN_SECONDS

    async def _ask(self, item: Missing) -> Child | None:
        kind, namespace, name = item.place
        try:
            manifest: Manifest | None = await self._cluster.get(kind, namespace=namespace, name=name)
        except NotFoundError:
            manifest = None
        if manifest is None or not is_it(item, manifest):
            self._absent[item.uid] = _Memory(asked_at=self._clock.boottime())
            return None
        return Child(kind=kind, manifest=_as_it_was(item, manifest))


def missing(children: Sequence[Child]) -> Iterator[Missing]:
    """Workloads of pods, and revisions of copies, that are not among these; each once."""
    followed = [child for child in children if child.kind in WORKLOADS]
    workloads = {(child.namespace, child.name) for child in followed if label_of(child, names.COPY) == child.name}
    known = {(child.namespace, name_in(child.manifest)) for child in children if child.kind == CONFIG_MAP}
    for child in sorted((child for child in children if child.kind == POD), key=lambda pod: pod.name):
        labels = child.manifest["metadata"].get("labels") or {}
        copy, namespace = labels.get(names.COPY), child.namespace
        if copy and not child.going and (namespace, copy) not in workloads:
            workloads.add((namespace, copy))
            kind = LEADER_WORKER_SET if names.GROUP in labels else REPLICA_SET
            yield Missing(place=(kind, namespace, copy), labels=_some(labels, _OF_COPY), uid=_made_by(child))
    for child in children:
        if child.kind == POD or child.kind in WORKLOADS:
            labels, namespace = child.manifest["metadata"].get("labels") or {}, child.namespace
            revision = labels.get(names.REVISION)
            if revision and not child.going and (namespace, revision) not in known:
                known.add((namespace, revision))
                place = (CONFIG_MAP, namespace, _pinned_by(labels, revision))
                yield Missing(place=place, labels=_some(labels, _OF_DEPLOYMENT), uid=f"{namespace}/{place[2]}")


def is_it(item: Missing, manifest: Manifest) -> bool:
    """Whether an object that bears the name is the one that is missing: what it makes its pods from bears the labels,
    and a ReplicaSet is the very one that made them; a revision speaks of the same LlamaDeployment."""
    kind = item.place[0]
    if kind == CONFIG_MAP:
        uid = item.labels.get(names.DEPLOYMENT_UID)
        return bool(uid) and f'"{uid}"' in str((manifest.get("data") or {}).get(TEMPLATE_KEY, ""))
    spec: dict[str, Any] = manifest.get("spec") or {}
    template = spec.get("template") or (spec.get("leaderWorkerTemplate") or {}).get("workerTemplate") or {}
    same = item.labels.items() <= ((template.get("metadata") or {}).get("labels") or {}).items()
    return same and (kind != REPLICA_SET or manifest["metadata"]["uid"] == item.uid)


def _place(child: Child) -> Place:
    return child.kind, child.namespace, child.name


def _as_it_was(item: Missing, manifest: Manifest) -> Manifest:
    """The object with the labels that it should have."""
    metadata = {name: value for name, value in manifest["metadata"].items() if name != "managedFields"}
    live = metadata.get("labels") or {}
    labels = {**live, **item.labels}
    if item.place[0] == CONFIG_MAP and labels != live:
        # A revision that is there is only written again where it is seen to lack something.
        del labels[names.MANAGED_BY]
    return {**manifest, "metadata": {**metadata, "labels": labels}}


def _pinned_by(labels: dict[str, str], revision: str) -> str:
    namespace, name = labels.get(names.DEPLOYMENT_NAMESPACE, ""), labels.get(names.DEPLOYMENT_NAME, "")
    return names.revision_name(namespace=namespace, name=name, revision=revision)


def _made_by(pod: Child) -> str:
    """The uid of the pod's controller, or else its own."""
    owners = pod.manifest["metadata"].get("ownerReferences") or ()
    return next((str(owner["uid"]) for owner in owners if owner.get("controller")), pod.uid)


def _some(labels: dict[str, str], wanted: Sequence[str]) -> dict[str, str]:
    return {name: labels[name] for name in wanted if name in labels}
