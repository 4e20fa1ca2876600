"""The writes of a round: each is idempotent, and a round that stops after any of them is continued by the next."""

import dataclasses
import hashlib
import logging
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
from paddock_core.resources import names
from paddock_core.resources.llamadeployment import FINALIZER

from paddock_operator.cache import Cache
from paddock_operator.comparing import contains
from paddock_operator.decide.actions import (
    Action,
    AddFinalizer,
    Apply,
    Delete,
    Place,
    RecordResult,
    Refer,
    RemoveFinalizer,
    StartWeights,
    place_of,
)
from paddock_operator.decide.outcome import Config
from paddock_operator.documents import Documents
from paddock_operator.errors import ClusterError, ControlPlaneError
from paddock_operator.kinds import EXTRAS, LLAMA_DEPLOYMENT, SECRET, Kind, kind_of
from paddock_operator.manifests.render import WeightsRendering, render_weights
from paddock_operator.observed import Observed
from paddock_operator.ports import Cluster, ControlPlane, Manifest

log = logging.getLogger(__name__)

SECRET_TRUST_SECONDS = 300.0
"""Secrets are never read, so one that we wrote is written again after this time, in case somebody removed it."""

REFUSALS = (400, 403, 422)
"""Statuses by which the API server refuses an object for what it is: asking again gets the same answer."""

STAYS = (*REFUSALS, 500)
"""By which it refuses to delete or to note something, also where a webhook that it asks about that does not answer."""

MOST_COMPARED = 50_000

REFERENCE_TRUST_SECONDS = 300.0
"""The control plane is told again after this time which files are in use, in case it was restored from a backup."""


class Done(NamedTuple):
    """What a round did: how many writes were needed, and what of the extras the cluster refused."""

    writes: int
    refused: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()
    """Why copies were refused, or what they need, one line each: no later try brings them as they are."""


class _Left:
    """What of a round was refused, and what must not be done for that."""

    def __init__(self) -> None:
        self.beside: list[str] = []
        self.needed: list[str] = []
        self.stays: list[ClusterError] = []
        self._lacking: set[Place] = set()

    def keeps(self, action: Action) -> bool:
        """Whether an action waits for a later round: what it needs, or what was to happen to its object before."""
        if isinstance(action, RemoveFinalizer):
            return bool(self.stays)
        if not self._lacking:
            return False
        place, needs = _place(action), action.needs if isinstance(action, Apply) else frozenset[Place]()
        kept = place in self._lacking or not self._lacking.isdisjoint(needs)
        if kept and place is not None:
            self._lacking.add(place)
        return kept

    def note(self, action: Action, error: ClusterError) -> None:
        """Something was not done. Raises the error where it ends the round."""
        kind, place = _extra(action), _place(action)
        if kind is not None:
            self.beside.append(f"{kind.name}: {error}")
            return
        if isinstance(action, Apply | StartWeights) and error.status in REFUSALS:
            self.needed.append(f"{_copy(action)}{error}")
        elif isinstance(action, Delete | RecordResult) and error.status in STAYS:
            self.stays.append(error)
        else:
            raise error
        if place is not None:
            self._lacking.add(place)


class Executor:
    """Performs actions. Raises ClusterError or ControlPlaneError; what was done before stays done.

    `ended` hears the uid of each object that was deleted.
    """

    def __init__(
        self,
        *,
        cluster: Cluster,
        control_plane: ControlPlane,
        cache: Cache,
        documents: Documents,
        config: Config,
        ended: Callable[[str], None] = lambda _uid: None,
        time: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cluster = cluster
        self._control_plane = control_plane
        self._cache = cache
        self._documents = documents
        self._config = config
        self._ended = ended
        self._time = time
        self._written: dict[tuple[str, str], tuple[str, float]] = {}
        self._told: dict[Refer, float] = {}
        self._compared: dict[tuple[Kind, tuple[str, str]], tuple[Manifest, Manifest, bytes]] = {}
        """What was found to hold a rendering, the rendering, and its digest."""

    async def execute(self, actions: Sequence[Action], observed: Observed) -> Done:
        """Perform all actions in order. What pods serve without stops nothing. What Kubernetes refuses for what it is
        keeps only that from being made which needs it: others come and go. What may not go keeps nothing else from
        going, and is raised in the end: the round did not do what it is for."""
        writes, left = 0, _Left()
        for action in actions:
            if left.keeps(action):
                continue
            try:
                writes += await self._perform(action, observed)
            except ClusterError as error:
                left.note(action, error)
                log.warning("not done", extra={"key": str(observed.key), "error": str(error)})
        if left.stays:
            raise left.stays[0]
        return Done(writes, tuple(left.beside), tuple(left.needed))

    async def _perform(self, action: Action, observed: Observed) -> int:
        match action:
            case Apply(manifest=manifest):
                return await self._apply(manifest)
            case Delete():
                await self._delete(action)
            case AddFinalizer(resource_version=version):
                await self._finalizers(observed, version, wanted=True)
            case RemoveFinalizer(resource_version=version):
                await self._finalizers(observed, version, wanted=False)
            case StartWeights():
                return await self._start_weights(action)
            case RecordResult():
                await self._record(action)
            case Refer():
                return await self._refer(action)
        return 1

    async def _apply(self, manifest: Manifest) -> int:
        if self._is_there(manifest):
            return 0
        await self._cluster.apply(manifest)
        if kind_of(manifest) == SECRET:
            metadata = manifest["metadata"]
            place = (str(metadata["namespace"]), str(metadata["name"]))
            self._written[place] = (metadata["annotations"][names.RENDERING], self._time())
        return 1

    def _is_there(self, manifest: Manifest) -> bool:
        """True if the cached object holds everything that was rendered, so that applying would change nothing."""
        metadata = manifest["metadata"]
        place = (str(metadata.get("namespace", "")), str(metadata["name"]))
        kind = kind_of(manifest)
        if kind == SECRET:
            digest, at = self._written.get(place, ("", 0.0))
            return digest == metadata["annotations"][names.RENDERING] and self._time() - at < SECRET_TRUST_SECONDS
        live = self._cache.find(kind, namespace=place[0], name=place[1])
        if live is None or "deletionTimestamp" in live["metadata"]:
            return False
        return self._contains(kind, place, live, manifest)

    def _contains(self, kind: Kind, place: tuple[str, str], live: Manifest, manifest: Manifest) -> bool:
        """Compared once: a cached object that has changed is another object."""
        known = self._compared.get((kind, place))
        if known is not None and known[0] is live and known[1] is manifest:
            # What is rendered of the same things is kept, and is the same object in every round.
            return True
        digest = hashlib.blake2b(msgspec.json.encode(manifest)).digest()
        if known is not None and known[0] is live and known[2] == digest:
            return True
        found = contains(live, manifest)
        if found:
            if len(self._compared) >= MOST_COMPARED:
                self._compared.clear()
            self._compared[(kind, place)] = (live, manifest, digest)
        return found

    async def _delete(self, action: Delete) -> None:
        found = await self._cluster.delete(
            action.kind,
            namespace=action.namespace,
            name=action.name,
            uid=action.uid,
            grace_seconds=0 if action.forced else None,
        )
        if action.uid is not None:
            self._ended(action.uid)
        if not found and action.uid is not None:
            # The event of its end was lost: without it, the next round would delete it again.
            self._cache.gone(action.kind, namespace=action.namespace, name=action.name, uid=action.uid)
        self._written.pop((action.namespace, action.name), None)
        self._compared.pop((action.kind, (action.namespace, action.name)), None)

    async def _finalizers(self, observed: Observed, version: str, *, wanted: bool) -> None:
        others = [name for name in observed.metadata.get("finalizers", ()) if name != FINALIZER]
        finalizers = [*others, FINALIZER] if wanted else others
        patch: Manifest = {"metadata": {"finalizers": finalizers or None, "resourceVersion": version}}
        key = observed.key
        written = await self._cluster.merge(LLAMA_DEPLOYMENT, namespace=key.namespace, name=key.name, patch=patch)
        self._documents.wrote(written)

    async def _start_weights(self, action: StartWeights) -> int:
        token = await self._control_plane.download_token(model=action.model.id, entity=action.entity)
        rendering = WeightsRendering(
            model=action.model,
            precision=action.precision,
            digest=action.digest,
            licenses=action.licenses,
            catalogued=action.catalogued,
            owner=action.owner,
            token=token,
            config=self._config,
        )
        return sum([await self._apply(manifest) for manifest in render_weights(rendering)])

    async def _refer(self, action: Refer) -> int:
        """No write in the cluster. What runs does not depend on it: it is told again by a later round if it fails."""
        key, now = dataclasses.replace(action, urgent=False), self._time()
        if not action.urgent and now - self._told.get(key, -REFERENCE_TRUST_SECONDS) < REFERENCE_TRUST_SECONDS:
            return 0
        try:
            await self._control_plane.refer(
                entity=action.entity, model=action.model, weights=action.weights, tokenizer=action.tokenizer
            )
        except ControlPlaneError as error:
            log.info("not told that files are needed", extra={"model": action.model, "error": str(error)})
            return 0
        self._told = {past: at for past, at in self._told.items() if now - at < REFERENCE_TRUST_SECONDS}
        self._told[key] = now
        return 0

    async def _record(self, action: RecordResult) -> None:
        patch: Manifest = {"metadata": {"annotations": {action.annotation: action.result}}}
        await self._cluster.merge(action.kind, namespace=action.namespace, name=action.name, patch=patch)


def _copy(action: Action) -> str:
    """The copy for which something is made, as a text begins with it; empty where it is for no single one."""
    labels = action.manifest["metadata"].get("labels") or {} if isinstance(action, Apply) else {}
    return f"copy {labels[names.COPY]}: " if names.COPY in labels else ""


def _place(action: Action) -> Place | None:
    """Of the object that an action writes or removes, where it is one."""
    match action:
        case Apply(manifest=manifest):
            return place_of(manifest)
        case Delete() | RecordResult():
            return action.kind.name, action.namespace, action.name
        case _:
            return None


def _extra(action: Action) -> Kind | None:
    """The kind of what an action writes or removes, where pods serve without it."""
    match action:
        case Apply(manifest=manifest):
            kind = kind_of(manifest)
        case Delete(kind=kind):
            pass
        case _:
            return None
    return kind if kind in EXTRAS else None
