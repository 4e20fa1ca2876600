"""A cache of one kind: list, then watch, for ever. A list replaces the cache: what was deleted meanwhile is noticed."""

import asyncio
import logging
from collections.abc import Callable, Iterable

from paddock_core.resources import names

from paddock_operator.errors import ClusterError, GoneError, NotFoundError, OverloadedError, SilentError
from paddock_operator.kinds import Kind
from paddock_operator.ports import Clock, Cluster, Key, Listing, Manifest, Reduce, WatchEvent, whole
from paddock_operator.sharing import Sharing

log = logging.getLogger(__name__)

RETRY_FIRST_SECONDS = 0.5
RETRY_MAX_SECONDS = 30.0
ABSENT_SECONDS = 30.0
"""How often it is asked whether an API that was not there has come."""
RELIST_SECONDS = 480.0
"""How often everything is listed again, whatever was heard: within it, a lost event of a watch is made up for."""
MISSED_TO_WARN = 2
"""So many silent watches in a row, each followed by a list with news, mean that watches do not work here. One may be
chance: the change may have come between the watch and the list."""

Changed = Callable[[Manifest], None]
"""Told of every object that came, changed or went (then as it was last)."""


class Reflector:
    """The objects of one kind that a selector picks, as far as `keeps` takes them: anybody may write labels. `reduce`
    drops what nobody reads before it is kept; a change of what was dropped is told to nobody.

    Of an `optional` kind the cluster may lack the API: then there are no objects, and `served` is false.
    """

    def __init__(
        self,
        *,
        cluster: Cluster,
        kind: Kind,
        clock: Clock,
        changed: Changed,
        selector: str = names.SELECTOR,
        keeps: Callable[[Manifest], bool] = lambda _manifest: True,
        reduce: Reduce = whole,
        optional: bool = False,
        relist_seconds: float = RELIST_SECONDS,
    ) -> None:
        self.kind = kind
        self.selector = selector
        self.version = 0
        """Another number after every change that was told."""
        self.served = False
        self.synced = asyncio.Event()
        self._cluster = cluster
        self._clock = clock
        self._changed = changed
        self._keeps = keeps
        self._reduce = reduce
        self._sharing = Sharing()
        self._optional = optional
        self._relist_seconds = relist_seconds
        self._listed_at = 0.0
        self._objects: dict[tuple[str, str], Manifest] = {}
        self._by_owner: dict[Key, dict[tuple[str, str], Manifest]] = {}
        self._heard_at = clock.boottime()
        self._changes = 0
        self._missed = 0

    def silent_seconds(self) -> float:
        """For how long neither a list nor a line of the watch has come; bookmarks come about every minute."""
        return self._clock.boottime() - self._heard_at

    def get(self, *, namespace: str, name: str) -> Manifest | None:
        """One object, or None."""
        return self._objects.get((namespace, name))

    def all(self) -> Iterable[Manifest]:
        """Every object."""
        return self._objects.values()

    def of(self, key: Key) -> list[Manifest]:
        """The objects that belong to a LlamaDeployment, by their labels."""
        return list(self._by_owner.get(key, {}).values())

    def owners(self) -> Iterable[Key]:
        """Every LlamaDeployment that has an object of this kind, whether it still exists or not."""
        return list(self._by_owner)

    def gone(self, *, namespace: str, name: str, uid: str) -> None:
        """Note that the API server knows this object no longer, whatever was heard or not heard of it. One that was
        made anew under the same name is another one, and stays."""
        found = self._objects.get((namespace, name))
        if found is not None and found["metadata"].get("uid") == uid:
            self._drop((namespace, name))

    def found(self, manifest: Manifest) -> None:
        """Note that the API server knows this object, though nothing was heard of it."""
        if self._keeps(manifest):
            self._keep(self.reduced(manifest))

    def reduced(self, manifest: Manifest) -> Manifest:
        """An object as it is kept; the one that is kept where it is of the same revision."""
        before = self._objects.get(_place(manifest))
        if before is not None and _is_as(before, manifest):
            return before
        return self._sharing.shared(self._reduce(manifest))

    def merge(self, listing: Listing) -> None:
        """Note what another list of the same objects, `reduced`, says as far as it is newer than what was heard."""
        found = {_place(manifest): manifest for manifest in listing.items if self._keeps(manifest)}
        for place, known in list(self._objects.items()):
            if place not in found and _revision(known) <= int(listing.revision):
                self._drop(place)
        for place, manifest in found.items():
            heard = self._objects.get(place)
            if heard is None or _revision(heard) < _revision(manifest):
                self._keep(manifest)

    async def run(self) -> None:
        """Never returns. Errors are retried after 0.5 doubling to 30 seconds."""
        delay = RETRY_FIRST_SECONDS
        silent = False
        while True:
            try:
                changes = self._changes
                revision = await self._replace()
                if silent and self._changes != changes:
                    self._note_missed()
                delay, silent = RETRY_FIRST_SECONDS, False
                await self._follow(revision)
                log.debug("listing again", extra={"kind": self.kind.plural})
            except SilentError as error:
                # A kind of which nothing is heard because nothing happens: no trouble, as long as the list agrees.
                silent = True
                log.debug("watch ended", extra={"kind": self.kind.plural, "error": str(error)})
            except NotFoundError as error:
                delay = await self._without_api(error, delay)
            except GoneError:
                log.info("revision is gone, listing again", extra={"kind": self.kind.plural})
            except ClusterError as error:
                delay = await self._pause(error, delay)

    async def _pause(self, error: ClusterError, delay: float) -> float:
        log.warning("watch failed", extra={"kind": self.kind.plural, "error": str(error)})
        await asyncio.sleep(delay)
        return min(delay * 2, RETRY_MAX_SECONDS)

    async def _without_api(self, error: ClusterError, delay: float) -> float:
        if not self._optional:
            return await self._pause(error, delay)
        self._heard_at = self._clock.boottime()
        self.served = False
        for place in list(self._objects):
            self._drop(place)
        self.synced.set()
        await asyncio.sleep(ABSENT_SECONDS)
        return RETRY_FIRST_SECONDS

    async def _replace(self) -> str:
        listing = await self._cluster.list(self.kind, selector=self.selector, reduce=self.reduced)
        self._heard_at = self._listed_at = self._clock.boottime()
        found = {_place(manifest): manifest for manifest in listing.items if self._keeps(manifest)}
        for place in set(self._objects) - set(found):
            self._drop(place)
        for manifest in found.values():
            self._keep(manifest)
        self.served = True
        self.synced.set()
        return listing.revision

    def _note_missed(self) -> None:
        self._missed += 1
        if self._missed >= MISSED_TO_WARN:
            text = "watches tell nothing though objects change: changes are noticed late; look at what lies between"
            log.warning(text, extra={"kind": self.kind.plural, "times": self._missed})

    async def _follow(self, revision: str) -> None:
        """Watch until it is time to list again, or the server is asked for something that it no longer knows; a watch
        that ends in order goes on, and so does one that an overloaded server refuses."""
        delay = RETRY_FIRST_SECONDS
        while not self._is_old():
            try:
                async for event in self._cluster.watch(self.kind, selector=self.selector, revision=revision):
                    revision, delay = event.object["metadata"]["resourceVersion"], RETRY_FIRST_SECONDS
                    self._hear(event)
                    if self._is_old():
                        return
            except OverloadedError as error:
                # Nothing was missed: another list would only be one more request.
                delay = await self._pause(error, delay)
            else:
                # A server that is stopping ends each watch at once: do not ask it in a hot loop.
                await asyncio.sleep(RETRY_FIRST_SECONDS / 2)

    def _hear(self, event: WatchEvent) -> None:
        self._heard_at = self._clock.boottime()
        self._missed = 0
        if event.type in ("ADDED", "MODIFIED") and self._keeps(event.object):
            self._keep(self.reduced(event.object))
        elif event.type == "DELETED":
            self._drop(_place(event.object))

    def _is_old(self) -> bool:
        return self._clock.boottime() - self._listed_at >= self._relist_seconds

    def _keep(self, reduced: Manifest) -> None:
        place = _place(reduced)
        before = self._objects.get(place)
        if before is not None and _is_as(before, reduced):
            return
        self._changes += 1
        if before is not None and _same(before, reduced):
            # The one that is kept stays the same object, by which others notice that nothing has changed.
            before["metadata"]["resourceVersion"] = reduced["metadata"]["resourceVersion"]
            return
        self._forget_owner(place)
        self._objects[place] = reduced
        owner = owner_of(reduced)
        if owner is not None:
            self._by_owner.setdefault(owner, {})[place] = reduced
        if before is not None and owner_of(before) != owner:
            # Somebody gave it to another: whose it was has lost it, and is told as of one that went.
            self._tell(before)
        self._tell(reduced)

    def _drop(self, place: tuple[str, str]) -> None:
        self._forget_owner(place)
        manifest = self._objects.pop(place, None)
        if manifest is not None:
            self._changes += 1
            self._tell(manifest)

    def _tell(self, manifest: Manifest) -> None:
        self.version += 1
        self._changed(manifest)

    def _forget_owner(self, place: tuple[str, str]) -> None:
        manifest = self._objects.get(place)
        owner = owner_of(manifest) if manifest is not None else None
        if owner is None:
            return
        owned = self._by_owner.get(owner, {})
        owned.pop(place, None)
        if not owned:
            self._by_owner.pop(owner, None)


def owner_of(manifest: Manifest) -> Key | None:
    """The LlamaDeployment that an object belongs to, or None for what belongs to no single one."""
    labels = manifest["metadata"].get("labels") or {}
    namespace, name = labels.get(names.DEPLOYMENT_NAMESPACE), labels.get(names.DEPLOYMENT_NAME)
    return Key(namespace, name) if namespace and name else None


def owner_uid(manifest: Manifest) -> str | None:
    """The uid of the LlamaDeployment for which an object was made."""
    labels = manifest["metadata"].get("labels") or {}
    uid: str | None = labels.get(names.DEPLOYMENT_UID)
    return uid


def _same(before: Manifest, after: Manifest) -> bool:
    """True if two forms of an object differ in their revision alone."""
    revision = {"resourceVersion": before["metadata"].get("resourceVersion")}
    return before == {**after, "metadata": {**after["metadata"], **revision}}


def _is_as(before: Manifest, manifest: Manifest) -> bool:
    """True if both are of one revision."""
    return bool(before["metadata"].get("resourceVersion") == manifest["metadata"]["resourceVersion"])


def _revision(manifest: Manifest) -> int:
    """A cluster has one sequence of revisions, of all objects and lists."""
    return int(manifest["metadata"]["resourceVersion"])


def _place(manifest: Manifest) -> tuple[str, str]:
    metadata = manifest["metadata"]
    return metadata.get("namespace", ""), metadata["name"]
