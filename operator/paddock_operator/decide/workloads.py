"""The writes that bring copies about: what all share, the revision's ConfigMap, each copy, and what is left over."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from paddock_core.resources import names

from paddock_operator.decide.actions import Action, Apply, Delete, RecordResult
from paddock_operator.decide.copies import Copy
from paddock_operator.decide.revisions import RENDERED_BY, WISH, Revision
from paddock_operator.kinds import (
    CONFIG_MAP,
    INFERENCE_POOL,
    NETWORK_POLICY,
    POD_DISRUPTION_BUDGET,
    POD_GROUP,
    POD_MONITOR,
    RESOURCE_CLAIM_TEMPLATE,
    SECRET,
    kind_of,
)
from paddock_operator.observed import Child, Observed, label_of
from paddock_operator.ports import Manifest
from paddock_operator.times import format_time

_SHARED = (NETWORK_POLICY, POD_DISRUPTION_BUDGET, POD_MONITOR, INFERENCE_POOL)
"""Kinds of which all copies together have one today and perhaps none tomorrow."""
_GUARDS = (NETWORK_POLICY, POD_GROUP)
"""Kinds that a copy has of its own as long as any pod of it is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCopy:
    """A copy to be made, or to be made again."""

    name: str
    revision: Revision
    avoids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """How the copies should be."""

    shared: Sequence[Manifest]
    """What all copies have in common."""
    needed: Sequence[Revision]
    """Revisions whose ConfigMaps are to be there, whether they are or not."""
    wish: str
    target: Revision
    create: Sequence[NewCopy] = ()
    draining: frozenset[str] = frozenset()
    """Names of the copies that get no request any more."""
    delete: Sequence[Copy] = ()
    forced: Sequence[Child] = ()
    """Pods that nobody else will end."""


def actions(observed: Observed, copies: Sequence[Copy], changes: Changes, *, namespace: str) -> tuple[Action, ...]:
    """The writes of a round, in order: first what copies need, then copies, then what nobody needs any more."""
    known = {revision.name: revision for revision in changes.needed}
    deleted = {copy.name for copy in changes.delete}
    secrets = [manifest for manifest in changes.shared if kind_of(manifest) == SECRET]
    others = [manifest for manifest in changes.shared if kind_of(manifest) != SECRET]
    # The Secret comes after the revision, by which it is found again when all of it is taken away.
    applied: list[Manifest] = [*others, *_pinned(changes), *secrets]
    for copy in copies:
        if not copy.going and copy.name not in deleted and copy.revision in known:
            since = _since(observed, copy) if copy.name in changes.draining else "" if copy.draining else None
            applied += known[copy.revision].copy(copy.name, avoids=copy.avoids, draining_since=since)
    for new in changes.create:
        applied += new.revision.copy(new.name, avoids=new.avoids)
    kept = {_place(manifest) for manifest in applied}
    left_over = _left_over(observed, copies, kept, namespace, {*known})
    return (
        *(Apply(manifest=manifest) for manifest in applied),
        *_unpinned(observed, copies, changes, {*known}),
        *(_delete(pod, forced=True) for pod in changes.forced),
        *(_delete(copy.workload) for copy in changes.delete if copy.workload is not None),
        *(_delete(child) for child in left_over),
    )


def _pinned(changes: Changes) -> Iterable[Manifest]:
    """ConfigMaps that are not there yet, and the present wish on that of the revision that answers it."""
    for revision in changes.needed:
        if not revision.created_at:
            yield revision.manifest
        elif revision.name == changes.target.name and revision.wish != changes.wish:
            yield noted(revision, wish=changes.wish)


def _unpinned(observed: Observed, copies: Sequence[Copy], changes: Changes, known: set[str]) -> Iterable[Action]:
    """The mark of a drain on copies whose ConfigMap somebody deleted, so that they cannot be applied."""
    for copy in copies:
        lost = copy.revision not in known and copy.workload is not None and not copy.going
        if lost and copy.workload is not None and copy.name in changes.draining and not copy.draining:
            yield RecordResult(
                namespace=copy.workload.namespace,
                name=copy.name,
                result=_since(observed, copy),
                annotation=names.DRAINING,
                kind=copy.workload.kind,
            )


def noted(revision: Revision, *, wish: str) -> Manifest:
    """Its ConfigMap with another wish that it answers; all else is as it was made."""
    metadata = revision.manifest["metadata"]
    kept = {name: metadata[name] for name in ("name", "namespace", "labels")}
    annotations = {WISH: wish} | {
        name: value for name, value in (metadata.get("annotations") or {}).items() if name == RENDERED_BY
    }
    return {
        "apiVersion": CONFIG_MAP.api_version,
        "kind": CONFIG_MAP.name,
        "metadata": {**kept, "annotations": annotations},
        "immutable": True,
        "data": revision.manifest["data"],
    }


def _since(observed: Observed, copy: Copy) -> str:
    return format_time(observed.now if copy.draining_since is None else copy.draining_since)


def _left_over(
    observed: Observed, copies: Sequence[Copy], kept: set[tuple[str, str]], namespace: str, needed: set[str]
) -> Iterable[Child]:
    """What no copy and no revision needs any more."""
    present = {copy.name for copy in copies}
    running = {copy.revision for copy in copies}
    for child in observed.children:
        if child.namespace == namespace and not child.going and (child.kind.name, child.name) not in kept:
            copy, revision = label_of(child, names.COPY), label_of(child, names.REVISION)
            guards = bool(copy) and child.kind in _GUARDS and copy not in present
            shared = not copy and child.kind in _SHARED
            pinned = child.kind == CONFIG_MAP and revision not in needed | running
            claims = child.kind == RESOURCE_CLAIM_TEMPLATE and running <= needed
            if guards or shared or pinned or claims:
                yield child


def _place(manifest: Manifest) -> tuple[str, str]:
    return kind_of(manifest).name, str(manifest["metadata"]["name"])


def _delete(child: Child, *, forced: bool = False) -> Delete:
    return Delete(kind=child.kind, namespace=child.namespace, name=child.name, uid=child.uid, forced=forced)
