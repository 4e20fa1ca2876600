"""The writes that bring copies about: what all share, the revision's ConfigMap, each copy, and what is left over."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from paddock_core.resources import names

from paddock_operator.comparing import contains
from paddock_operator.decide import revisions
from paddock_operator.decide.actions import Action, Apply, Delete, Place, RecordResult, in_turn, place_of
from paddock_operator.decide.copies import Copy
from paddock_operator.decide.revisions import RENDERED_BY, WISH, Revision
from paddock_operator.kinds import (
    CONFIG_MAP,
    EXTRAS,
    INFERENCE_POOL,
    NAMESPACE,
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
    """Pods that nobody else will end, as their node is lost."""
    orphans: Sequence[Child] = ()
    """Pods that nobody else will end, as nothing there has made them."""


def actions(observed: Observed, copies: Sequence[Copy], changes: Changes, *, namespace: str) -> tuple[Action, ...]:
    """The writes of a round, in order: first what copies need, then copies, then what nobody needs any more.

    Copies that are there are marked, and go, whatever becomes of the rest.
    """
    known = {revision.name: revision for revision in changes.needed}
    deleted = {copy.name for copy in changes.delete}
    common = _common(observed, changes)
    applied = list(common)
    basis = frozenset(place_of(item.manifest) for item in common if kind_of(item.manifest) not in (*EXTRAS, CONFIG_MAP))
    for copy in copies:
        if not copy.going and copy.name not in deleted and copy.revision in known:
            since = _since(observed, copy) if copy.name in changes.draining else "" if copy.draining else None
            found = known[copy.revision].copy(copy.name, avoids=copy.avoids, draining_since=since)
            there = copy.workload is not None
            applied += (Apply(manifest=item) for item in found) if there else _made(found, known[copy.revision], basis)
    for new in changes.create:
        applied += _made(new.revision.copy(new.name, avoids=new.avoids), new.revision, basis)
    kept = {place_of(item.manifest) for item in applied}
    left_over = _left_over(observed, copies, kept, namespace, {*known})
    return (
        *applied,
        *_unpinned(observed, copies, changes, {*known}),
        *(_delete(pod, forced=True) for pod in changes.forced),
        *(_delete(pod) for pod in changes.orphans if pod not in changes.forced),
        *(_delete(copy.workload) for copy in changes.delete if copy.workload is not None),
        *(_delete(child) for child in left_over),
    )


def _common(observed: Observed, changes: Changes) -> tuple[Apply, ...]:
    """What is not of one copy alone."""
    spaces = [manifest for manifest in changes.shared if kind_of(manifest) == NAMESPACE]
    secrets = [manifest for manifest in changes.shared if kind_of(manifest) == SECRET]
    others = [manifest for manifest in changes.shared if kind_of(manifest) not in (NAMESPACE, SECRET)]
    space = frozenset(map(place_of, spaces))
    pinned = [Apply(manifest=manifest, needs=space) for manifest in _pinned(observed, changes)]
    # The Secret comes after a revision, by which it is found again when all of it is taken away.
    there = any(child.kind == CONFIG_MAP and not child.going for child in observed.children)
    found_by = space if there else space.union(place_of(item.manifest) for item in pinned)
    return (
        *(Apply(manifest=manifest) for manifest in spaces),
        *(Apply(manifest=manifest, needs=space) for manifest in others),
        *pinned,
        *(Apply(manifest=manifest, needs=found_by) for manifest in secrets),
    )


def _made(manifests: Sequence[Manifest], revision: Revision, basis: frozenset[Place]) -> tuple[Apply, ...]:
    """A copy that is not there: not without what all need, nor without its revision. What only stands on a revision
    that is there may be refused."""
    pinned = frozenset() if revision.created_at else frozenset({place_of(revision.manifest)})
    return in_turn(manifests, needs=basis | pinned)


def _pinned(observed: Observed, changes: Changes) -> Iterable[Manifest]:
    """ConfigMaps that are not there yet, and those that lack what is to stand on them: the present wish on that of the
    revision that answers it, and what others changed."""
    for revision in changes.needed:
        if not revision.created_at:
            yield revision.manifest
        elif not revision.going:
            wish = changes.wish if revision.name == changes.target.name else revision.wish
            wanted = noted(observed, revision, wish=wish)
            if not contains(revision.manifest["metadata"], wanted["metadata"]):
                yield wanted


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


def noted(observed: Observed, revision: Revision, *, wish: str) -> Manifest:
    """Its ConfigMap with the wish that it answers now, and with what was written on it when it was made."""
    metadata, key = revision.manifest["metadata"], observed.key
    namespace = str(metadata["namespace"])
    labels = names.deployment_labels(
        namespace=key.namespace,
        name=key.name,
        uid=observed.uid,
        tenant=names.tenant_served_in(namespace) or "",
        model=revision.facts.model,
    )
    annotations = {WISH: wish, RENDERED_BY: revisions.rendered_by(observed, revision)}
    return {
        "apiVersion": CONFIG_MAP.api_version,
        "kind": CONFIG_MAP.name,
        "metadata": {
            "name": metadata["name"],
            "namespace": namespace,
            "labels": {**labels, names.REVISION: revision.name},
            "annotations": {name: value for name, value in annotations.items() if value},
        },
        "immutable": True,
        "data": revision.manifest["data"],
    }


def _since(observed: Observed, copy: Copy) -> str:
    return format_time(observed.now if copy.draining_since is None else copy.draining_since)


def _left_over(
    observed: Observed, copies: Sequence[Copy], kept: set[Place], namespace: str, needed: set[str]
) -> Iterable[Child]:
    """What no copy and no revision needs any more."""
    present = {copy.name for copy in copies}
    running = {copy.revision for copy in copies}
    for child in observed.children:
        place = (child.kind.name, child.namespace, child.name)
        if child.namespace == namespace and not child.going and place not in kept:
            copy = label_of(child, names.COPY)
            guards = bool(copy) and child.kind in _GUARDS and copy not in present
            shared = not copy and child.kind in _SHARED
            pinned = child.kind == CONFIG_MAP and revisions.name_in(child.manifest) not in needed | running
            claims = child.kind == RESOURCE_CLAIM_TEMPLATE and running <= needed
            if guards or shared or pinned or claims:
                yield child


def _delete(child: Child, *, forced: bool = False) -> Delete:
    return Delete(kind=child.kind, namespace=child.namespace, name=child.name, uid=child.uid, forced=forced)
