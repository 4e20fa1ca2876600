"""The LlamaDeployments as they were heard of, and as we wrote them ourselves: so a round need not read its own object.

A round may see an object that somebody has changed a moment ago; it does not see one from before our own last write.
What must not rest on an old look says which revision it saw: a write of the status, of the finalizer, and, by `fresh`,
what takes pods away.
"""

from collections.abc import Callable, Iterable

from paddock_core.resources import names

from paddock_operator.errors import NotFoundError
from paddock_operator.index import key_of
from paddock_operator.kinds import LLAMA_DEPLOYMENT
from paddock_operator.ports import Clock, Cluster, Key, Manifest
from paddock_operator.reflector import RELIST_SECONDS, Reflector


class Documents:
    """A cache of LlamaDeployments under what we wrote. `changed` hears of each that came or changed, and of each that
    went (then True)."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        clock: Clock,
        changed: Callable[[Manifest, bool], None],
        relist_seconds: float = RELIST_SECONDS,
    ) -> None:
        self.reflector = Reflector(
            cluster=cluster, kind=LLAMA_DEPLOYMENT, clock=clock, changed=self._hear, selector="", reduce=_slim,
            relist_seconds=relist_seconds,
        )  # fmt: skip
        self._cluster = cluster
        self._changed = changed
        self._written: dict[Key, Manifest] = {}

    def get(self, key: Key) -> Manifest | None:
        """The newest form that is known; None if it is gone."""
        heard = self.reflector.get(namespace=key.namespace, name=key.name)
        written = self._written.get(key)
        if heard is None or written is None:
            return heard
        return written if _is_newer(written, heard) else heard

    def is_served(self, key: Key) -> bool:
        """True if gateways were told of an endpoint."""
        routing = ((self.get(key) or {}).get("status") or {}).get("routing") or {}
        return any(target.get("endpoints") for target in routing.get("targets") or ())

    def all(self) -> Iterable[Manifest]:
        """Every object, as it was heard of."""
        return self.reflector.all()

    async def relist(self) -> list[Manifest]:
        """List all, and take from it what the watch has not told. Raises ClusterError."""
        listing = await self._cluster.list(LLAMA_DEPLOYMENT, reduce=self.reflector.reduced)
        self.reflector.merge(listing)
        return listing.items

    def wrote(self, document: Manifest) -> None:
        """Note what the API server answered to a write of ours. What was heard before the answer is not kept twice."""
        self._written[key_of(document)] = self.reflector.reduced(document)

    def revision_after(self, key: Key, *, uid: str, seen: str) -> str:
        """The revision that our own write, made on the one that was seen, has led to; that one itself if there was
        none. Only for writes that named the revision that they were made on. That of a successor of the same name is
        never meant: what was found by the former must not be written on it."""
        written = self._written.get(key)
        if written is None or written["metadata"]["uid"] != uid:
            return seen
        return max(str(written["metadata"]["resourceVersion"]), seen, key=int)

    async def fresh(self, key: Key) -> Manifest | None:
        """Ask the API server, for what cannot be taken back. None if it is gone, which is noted, in case its event was
        lost; one of which nothing was heard is noted too. Raises ClusterError."""
        heard = self.reflector.get(namespace=key.namespace, name=key.name)
        try:
            document = await self._cluster.get(LLAMA_DEPLOYMENT, namespace=key.namespace, name=key.name)
        except NotFoundError:
            if heard is not None:
                self.reflector.gone(namespace=key.namespace, name=key.name, uid=str(heard["metadata"]["uid"]))
            return None
        if self.reflector.get(namespace=key.namespace, name=key.name) is None:
            self.reflector.found(document)
        self.wrote(document)
        return self.get(key)

    def _hear(self, manifest: Manifest) -> None:
        key = key_of(manifest)
        heard, written = self.reflector.get(namespace=key.namespace, name=key.name), self._written.get(key)
        if written is not None and (heard is None or not _is_newer(written, heard)):
            del self._written[key]
        self._changed(manifest, heard is None)


def _is_newer(one: Manifest, other: Manifest) -> bool:
    """By revision: a cluster has one sequence of them, so an object that was made anew under the same name is newer."""
    return int(one["metadata"]["resourceVersion"]) > int(other["metadata"]["resourceVersion"])


_READ = (
    "name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp", "finalizers",
)  # fmt: skip
"""What a round reads of the metadata, beside one annotation."""


def _slim(manifest: Manifest) -> Manifest:
    """Without what nobody here reads: the record of field managers is often larger than the object, and of annotations
    any tenant may write a quarter of a megabyte on each of its objects."""
    full = manifest["metadata"]
    metadata = {name: full[name] for name in _READ if name in full}
    retry = (full.get("annotations") or {}).get(names.RETRY)
    if retry is not None:
        metadata["annotations"] = {names.RETRY: retry}
    return {**manifest, "metadata": metadata}
