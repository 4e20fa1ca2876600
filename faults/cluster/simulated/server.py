"""The API server of the simulated cluster: what a request reads, writes or is refused, without any faults."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from paddock_operator.kinds import ALL, NAMESPACE, Kind
from paddock_operator.ports import Manifest

from faults.cluster.simulated.applying import applied, merged
from faults.cluster.simulated.selecting import has, picks
from faults.cluster.simulated.store import Place, Store, place_of
from faults.cluster.simulated.validating import faults, pruned, untyped, with_defaults

WITH_STATUS = frozenset({"LlamaDeployment", "LlamaModel", "ReplicaSet", "LeaderWorkerSet", "Job", "Pod", "Node"})
"""Kinds whose status is a subresource: written by itself, and left alone by other writes."""


class RefusedError(Exception):
    """The answer is an error."""

    def __init__(self, code: int, message: str, reason: str = "", *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = reason
        self.headers = headers or {}


@dataclass(frozen=True, slots=True)
class Target:
    """What a path names."""

    kind: Kind
    namespace: str
    name: str
    subresource: str

    @property
    def place(self) -> Place:
        return Place(self.kind, self.namespace, self.name)


class Server:
    """Reads and writes on a store."""

    def __init__(self, store: Store, *, kinds: frozenset[Kind] = frozenset(ALL)) -> None:
        self.store = store
        self._kinds = {(kind.group, kind.version, kind.plural): kind for kind in kinds}
        self._applied: dict[tuple[Place, str, str, str], Manifest] = {}
        """What each manager applied last, by place, uid, subresource and manager."""

    def target(self, path: str) -> Target:
        """What a path names. Raises RefusedError where the cluster has no such API."""
        parts = path.strip("/").split("/")
        group, rest = ("", parts[1:]) if parts[0] == "api" else (parts[1], parts[2:])
        version, *rest = rest
        namespace = ""
        if rest[0] == "namespaces" and len(rest) > 2:
            namespace, rest = rest[1], rest[2:]
        kind = self._kinds.get((group, version, rest[0]))
        if kind is None:
            raise RefusedError(404, "the server could not find the requested resource", "NotFound")
        return Target(kind, namespace, *[*rest[1:], "", ""][:2])

    def read(self, target: Target) -> Manifest:
        """One object. Raises RefusedError."""
        found = self.store.get(target.place)
        if found is None:
            raise RefusedError(404, f'{target.kind.plural} "{target.name}" not found', "NotFound")
        return found

    def list(self, target: Target, query: Mapping[str, str], *, revision: int) -> Manifest:
        """A list as of a revision."""
        kind, store = target.kind, self.store
        items = store.all(kind) if revision >= store.revision else store.at(kind, revision)
        chosen = [item for item in items if self.picked(item, target, query)]
        return {
            "apiVersion": kind.api_version,
            "kind": f"{kind.name}List",
            "metadata": {"resourceVersion": str(min(revision, store.revision))},
            # As the API server does: what is said once for the list is not said of each item.
            "items": [_without(item, "apiVersion", "kind") for item in chosen],
        }

    def picked(self, item: Manifest, target: Target, query: Mapping[str, str]) -> bool:
        """Whether a list or watch holds an object."""
        if target.namespace and item["metadata"].get("namespace") != target.namespace:
            return False
        return picks(item, query.get("labelSelector", "")) and has(item, query.get("fieldSelector", ""))

    def write(self, method: str, target: Target, query: Mapping[str, str], body: Manifest, how: str, by: str) -> Any:
        """Perform a write. Raises RefusedError. `how` is the content type, `by` the manager."""
        if method == "DELETE":
            return self._delete(target, body, by)
        self._need_namespace(target, exists=self.store.get(target.place) is not None)
        if method == "POST":
            return self._create(target, body, by)
        if method == "PUT":
            return self._replace(target, body, by)
        if "apply-patch" in how:
            return self._apply(target, body, query, by)
        if "merge-patch" in how:
            return self._merge(target, body, by)
        raise RefusedError(415, f"{how} is not understood")

    def _create(self, target: Target, body: Manifest, by: str) -> Manifest:
        place = place_of({**body, "metadata": {"namespace": target.namespace, **body["metadata"]}}, target.kind)
        self._need_namespace(Target(place.kind, place.namespace, place.name, ""), exists=False)
        if self.store.get(place) is not None:
            raise RefusedError(409, f'{target.kind.plural} "{place.name}" already exists', "AlreadyExists")
        return self.store.put(place, _allowed(target, self._fresh(target, body)), by=by)

    def _replace(self, target: Target, body: Manifest, by: str) -> Manifest:
        live = self.read(target)
        _need_same(live, body)
        return self._put(target, live, body, by)

    def _merge(self, target: Target, body: Manifest, by: str) -> Manifest:
        live = self.read(target)
        _need_same(live, body)
        return self._put(target, live, merged(live, body), by)

    def _apply(self, target: Target, body: Manifest, query: Mapping[str, str], by: str) -> Manifest:
        live, wanted = self.store.get(target.place), _without(body, "apiVersion", "kind")
        if live is None and body["metadata"].get("uid") and not target.subresource:
            raise RefusedError(409, "uid mismatch: no existing object was found", "Conflict")
        if live is None and target.subresource:
            raise RefusedError(404, f'{target.kind.plural} "{target.name}" not found', "NotFound")
        if live is not None:
            _need_same(live, body, whole=not target.subresource)
        if odd := untyped(body, target.kind):
            raise RefusedError(500, f"failed to create typed patch object: {'; '.join(odd[:5])}")
        manager = query.get("fieldManager", by)
        uid = "" if live is None else str(live["metadata"]["uid"])
        own = (target.place, uid, target.subresource, manager)
        result = applied(live or {}, self._applied.get(own, {}), wanted)
        stored = (
            self._put(target, live, result, by)
            if live
            else self.store.put(target.place, _allowed(target, result), by=by)
        )
        self._applied[target.place, str(stored["metadata"]["uid"]), target.subresource, manager] = wanted
        return stored

    def _put(self, target: Target, live: Manifest, wanted: Manifest, by: str) -> Manifest:
        """Store it; of a subresource only that, of the object itself everything else."""
        if target.subresource:
            wanted = {**live, target.subresource: wanted.get(target.subresource)}
        elif target.kind.name in WITH_STATUS:
            kept = {"status": live["status"]} if "status" in live else {}
            wanted = {**_without(wanted, "status"), **kept}
        stored = self.store.put(target.place, _allowed(target, wanted), by=by)
        if "deletionTimestamp" in stored["metadata"] and not stored["metadata"].get("finalizers"):
            self.store.let_go(target.place)
        return stored

    def _delete(self, target: Target, body: Manifest, by: str) -> Manifest:
        live = self.read(target)
        wanted = (body.get("preconditions") or {}) if body else {}
        for name, value in wanted.items():
            if live["metadata"].get(name) != value:
                raise RefusedError(409, f"Precondition failed: {name}", "Conflict")
        if body and body.get("gracePeriodSeconds") == 0:
            self.store.remove(target.place, by=by)
        else:
            self.store.delete(target.place, by=by)
        return {"kind": "Status", "apiVersion": "v1", "status": "Success"}

    def _need_namespace(self, target: Target, *, exists: bool) -> None:
        if exists or not target.namespace:
            return
        found = self.store.get(Place(NAMESPACE, "", target.namespace))
        if found is None:
            raise RefusedError(404, f'namespaces "{target.namespace}" not found', "NotFound")
        if "deletionTimestamp" in found["metadata"]:
            raise RefusedError(403, f"namespace {target.namespace} is being terminated", "Forbidden")

    def _fresh(self, target: Target, body: Manifest) -> Manifest:
        return _without(body, "status") if target.kind.name in WITH_STATUS else body


def _allowed(target: Target, wanted: Manifest) -> Manifest:
    """The object without what its schema does not know. Raises RefusedError for what that does not allow; what a write
    leaves alone is not looked at."""
    kept = pruned(wanted, target.kind)
    part = "status" if target.subresource == "status" else "spec"
    wrong = faults(with_defaults(kept, target.kind), target.kind, part=part)
    if wrong:
        raise RefusedError(422, f'{target.kind.name} "{target.name}" is invalid: {"; ".join(wrong[:5])}', "Invalid")
    return kept


def _need_same(live: Manifest, body: Manifest, *, whole: bool = True) -> None:
    """Preconditions that stand in an object's own metadata. A write of a subresource alone looks at no uid."""
    metadata = body.get("metadata") or {}
    if metadata.get("resourceVersion") not in (None, live["metadata"]["resourceVersion"]):
        raise RefusedError(409, "the object has been modified; please apply your changes to the latest", "Conflict")
    if whole and metadata.get("uid") not in (None, live["metadata"]["uid"]):
        raise RefusedError(422, "metadata.uid: Invalid value: field is immutable", "Invalid")


def _without(manifest: Manifest, *left_out: str) -> Manifest:
    return {name: value for name, value in manifest.items() if name not in left_out}


def encoded(document: Any) -> bytes:
    """As it travels."""
    return msgspec.json.encode(document)
