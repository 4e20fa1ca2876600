"""The objects of the simulated cluster, every change to them in order, and what Kubernetes itself does to each write.

Objects in here are never changed in place: what was handed out stays as it was.
"""

import asyncio
import itertools
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from paddock_operator.kinds import NAMESPACE, POD, Kind
from paddock_operator.ports import Clock, Manifest
from paddock_operator.times import format_time

from faults.cluster.simulated.validating import with_defaults

MOST_CHANGES = 50_000
"""Older ones are forgotten, as etcd's are compacted."""
_OWN = ("uid", "creationTimestamp", "resourceVersion", "generation", "deletionTimestamp", "deletionGracePeriodSeconds")
"""Metadata that only the server writes."""


class Place(NamedTuple):
    """Where an object is."""

    kind: Kind
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Change:
    """One step of the cluster's history."""

    revision: int
    type: str
    place: Place
    object: Manifest
    old: Manifest | None
    by: str


class Store:
    """All objects. Writes return what is stored; they raise KeyError where there is nothing."""

    def __init__(self, *, clock: Clock, uids: Callable[[], str] | None = None) -> None:
        self._clock = clock
        self._uids = uids or (lambda: str(uuid.uuid4()))
        self.revision = 1
        self.compacted = 0
        """Watches cannot begin before this revision."""
        self.changes: list[Change] = []
        self.most_changes = MOST_CHANGES
        self.listeners: list[Callable[[Change], None]] = []
        self._objects: dict[Place, Manifest] = {}
        self._of_kind: dict[Kind, dict[Place, Manifest]] = defaultdict(dict)
        self._owned: dict[str, set[Place]] = defaultdict(set)
        self._heard: dict[Kind, asyncio.Event] = defaultdict(asyncio.Event)

    def get(self, place: Place) -> Manifest | None:
        return self._objects.get(place)

    def all(self, kind: Kind) -> list[Manifest]:
        """Every object of a kind, in the order of namespace and name."""
        return [self._of_kind[kind][place] for place in sorted(self._of_kind[kind], key=lambda item: item[1:])]

    def places(self) -> list[Place]:
        return list(self._objects)

    def owned(self, uid: str) -> list[Place]:
        """Objects that name this owner."""
        return sorted(self._owned.get(uid, ()), key=str)

    def at(self, kind: Kind, revision: int) -> list[Manifest]:
        """The objects of a kind as they were at an earlier revision."""
        found = dict(self._of_kind[kind])
        for change in reversed(self.changes):
            if change.revision <= revision:
                break
            if change.place.kind != kind:
                continue
            if change.old is None:
                found.pop(change.place, None)
            else:
                found[change.place] = change.old
        return [found[place] for place in sorted(found, key=lambda item: item[1:])]

    def since(self, kind: Kind, revision: int, *, until: int) -> Iterator[Change]:
        """Changes of a kind after one revision, up to another."""
        first = len(self.changes)
        while first and self.changes[first - 1].revision > revision:
            first -= 1
        for change in itertools.islice(self.changes, first, None):
            if change.revision > until:
                return
            if change.place.kind == kind:
                yield change

    def news(self, kind: Kind) -> asyncio.Event:
        """Is set at the next change of a kind."""
        return self._heard[kind]

    def put(self, place: Place, wanted: Manifest, *, by: str = "kubernetes") -> Manifest:
        """Store an object as it is to be from now on; nothing happens where it is so already."""
        old = self._objects.get(place)
        metadata = {name: value for name, value in wanted["metadata"].items() if name not in _OWN and value is not None}
        metadata["name"] = place.name
        if place.kind.namespaced:
            metadata["namespace"] = place.namespace
        if old is None:
            metadata |= {"uid": self._uids(), "creationTimestamp": format_time(self._clock.now()), "generation": 0}
        else:
            metadata |= {name: old["metadata"][name] for name in _OWN if name in old["metadata"]}
        head = {"apiVersion": place.kind.api_version, "kind": place.kind.name}
        new = {**with_defaults({**wanted, **head}, place.kind), "metadata": metadata}
        if old is not None and _same(old, new):
            return old
        if old is None or _bare(old) != _bare(new):
            metadata["generation"] = metadata.get("generation", 0) + 1
        return self._step("ADDED" if old is None else "MODIFIED", place, new, old, by)

    def delete(self, place: Place, *, by: str = "kubernetes") -> None:
        """Delete: at once, or once finalizers and the kubelet let it go."""
        old = self._objects[place]
        if "deletionTimestamp" in old["metadata"]:
            return
        if self._lingers(place, old):
            metadata = {**old["metadata"], "deletionTimestamp": format_time(self._clock.now())}
            self._step("MODIFIED", place, {**old, "metadata": metadata}, old, by)
        else:
            self.remove(place, by=by)

    def remove(self, place: Place, *, by: str = "kubernetes") -> None:
        """Remove at once."""
        old = self._objects[place]
        self._step("DELETED", place, old, old, by)

    def let_go(self, place: Place) -> None:
        """Remove an object that is being deleted and that nobody holds any more."""
        old = self._objects.get(place)
        if old is not None and "deletionTimestamp" in old["metadata"] and not self._lingers(place, old):
            self.remove(place)

    def compact(self) -> None:
        """Forget all history: whoever follows from an earlier revision must list again."""
        self.changes.clear()
        self.compacted = self.revision
        for event in self._heard.values():
            event.set()
        self._heard.clear()

    def _lingers(self, place: Place, manifest: Manifest) -> bool:
        if manifest["metadata"].get("finalizers"):
            return True
        if place.kind == NAMESPACE:
            return any(other.namespace == place.name for other in self._objects)
        # A kubelet ends containers first; controllers.py removes the pod then.
        return place.kind == POD and bool(manifest["spec"].get("nodeName")) and not _ended(manifest)

    def _step(self, type_: str, place: Place, new: Manifest, old: Manifest | None, by: str) -> Manifest:
        self.revision += 1
        new = {**new, "metadata": {**new["metadata"], "resourceVersion": str(self.revision)}}
        if old is not None:
            for owner in _owners(old):
                self._owned[owner].discard(place)
                if not self._owned[owner]:
                    del self._owned[owner]
        if type_ == "DELETED":
            del self._objects[place], self._of_kind[place.kind][place]
        else:
            self._objects[place] = self._of_kind[place.kind][place] = new
            for owner in _owners(new):
                self._owned[owner].add(place)
        change = Change(self.revision, type_, place, new, old, by)
        self.changes.append(change)
        if len(self.changes) > self.most_changes:
            half = self.most_changes // 2
            self.compacted = self.changes[half].revision
            del self.changes[: half + 1]
        heard = self._heard.pop(place.kind, None)
        if heard is not None:
            heard.set()
        for listener in self.listeners:
            listener(change)
        return new


def place_of(manifest: Manifest, kind: Kind) -> Place:
    """Where an object belongs."""
    metadata = manifest["metadata"]
    return Place(kind, str(metadata.get("namespace", "")) if kind.namespaced else "", str(metadata["name"]))


def _owners(manifest: Manifest) -> set[str]:
    return {str(owner["uid"]) for owner in manifest["metadata"].get("ownerReferences") or ()}


def _same(old: Manifest, new: Manifest) -> bool:
    bare = {name: value for name, value in old["metadata"].items() if name != "resourceVersion"}
    fresh = {name: value for name, value in new["metadata"].items() if name != "resourceVersion"}
    return bare == fresh and _rest(old) == _rest(new)


def _rest(manifest: Manifest) -> Manifest:
    return {name: value for name, value in manifest.items() if name != "metadata"}


def _bare(manifest: Manifest) -> Manifest:
    """What counts as a new generation."""
    return {name: value for name, value in manifest.items() if name not in ("metadata", "status")}


def _ended(pod: Manifest) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
