"""How many GPUs each deployment has been granted: the sum of what statuses say, kept by the instance that leads.

A look (`charged`) and the booking of what was decided from it (`book`) must lie in one step of the event loop, with
no `await` between them; then two rounds are never granted the same GPU. Nothing is kept elsewhere: with each
leadership it is counted anew from a list, and until then every round waits.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from paddock_core.policy.view import PolicyView
from paddock_core.resources.llamadeployment import QuotaStatus

from paddock_operator.decide.quota import limit_of
from paddock_operator.errors import ClusterError
from paddock_operator.index import key_of
from paddock_operator.kinds import LLAMA_DEPLOYMENT
from paddock_operator.leader import LeaderElector
from paddock_operator.observed import Charged
from paddock_operator.ports import Cluster, Key, Manifest

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0


class _Waiting(NamedTuple):
    """A deployment that was refused. They are compared by the time of their creation, then by name."""

    created: str
    key: Key
    wanted: int


class Mark(NamedTuple):
    """The moment at which a list was asked for."""

    keys: set[Key]
    """What had a grant or waited for one."""
    term: int


class GpuLedger:
    """Grants by deployment. `term` counts leaderships; `wake` is told of those that may get what has become free."""

    def __init__(self, *, given: int, term: Callable[[], int], wake: Callable[[Key], None]) -> None:
        self._given = given
        self._term_now = term
        self._wake = wake
        self._term = -1
        self._counted = asyncio.Event()
        self._granted: dict[str, dict[Key, int]] = {}
        """By namespace, since those of a tenant are added up."""
        self._waiting: dict[Key, _Waiting] = {}

    def mark(self) -> Mark:
        """To be taken before a list of all deployments is asked for."""
        granted = (key for grants in self._granted.values() for key in grants)
        return Mark({*self._waiting, *granted}, self._term_now())

    def listed(self, items: Iterable[Manifest], mark: Mark) -> None:
        """Take over a consistent list of all deployments.

        What was granted under the same leadership stays as it is booked: a status may be older than that.
        """
        if mark.term != self._term:
            self._granted.clear()
            self._waiting.clear()
        there = set()
        for item in items:
            key = key_of(item)
            there.add(key)
            if key not in self._granted.get(key.namespace, {}) and key not in self._waiting:
                self._take_over(key, item)
        for key in mark.keys - there:
            self._release(key)
        self._term = mark.term
        self._counted.set()

    async def run(self, leader: LeaderElector, cluster: Cluster) -> None:
        """Count at the beginning of each leadership. Never returns."""
        while True:
            await leader.leading.wait()
            mark = self.mark()
            try:
                listing = await cluster.list(LLAMA_DEPLOYMENT, reduce=_booked)
            except ClusterError as error:
                log.warning("GPUs that are granted could not be counted", extra={"error": str(error)})
                await asyncio.sleep(RETRY_SECONDS)
                continue
            self.listed(listing.items, mark)
            if mark.term == self._term_now():
                await leader.following.wait()

    async def counted(self) -> None:
        """Wait until the grants of this leadership are counted."""
        while self._term != self._term_now():
            self._counted.clear()
            await self._counted.wait()

    def charged(self, key: Key, *, created: str, view: PolicyView) -> Charged:
        """What bears on a deployment; `created` is when it was, as the API server wrote it."""
        tenant = view.namespace_tenant(key.namespace)
        own = self._granted.get(key.namespace, {}).get(key, 0)
        if tenant is None:
            return Charged(granted=own)
        spaces = [space for space in self._granted if _owned(view, space, tenant.id)]
        others = sum(sum(self._granted[space].values()) for space in spaces) - own
        room = limit_of(tenant, given=self._given) - others - own
        aside = 0
        for waiting in sorted(self._waiting.values()):
            if waiting[:2] >= (created, key):
                break
            more = waiting.wanted - self._granted.get(waiting.key.namespace, {}).get(waiting.key, 0)
            if _owned(view, waiting.key.namespace, tenant.id) and more <= room - aside:
                aside += more
        return Charged(granted=own, others=others + aside)

    def of_tenants(self, view: PolicyView) -> dict[str, int]:
        """What the deployments of each tenant have together."""
        found: dict[str, int] = {}
        for space, grants in self._granted.items():
            tenant = view.namespace_tenant(space)
            if tenant is not None:
                found[tenant.id] = found.get(tenant.id, 0) + sum(grants.values())
        return found

    def book(self, key: Key, status: QuotaStatus | None, *, created: str) -> None:
        """Note what a round decided; None: the deployment holds nothing. `created` is as for `charged`.

        Whoever waits is woken where something has become free.
        """
        gpus, wanted = (0, 0) if status is None else (status.gpus, status.wanted)
        before = self._granted.get(key.namespace, {}).get(key, 0)
        waited = self._waiting.pop(key, None)
        if wanted > gpus:
            self._waiting[key] = _Waiting(created, key, wanted)
        self._put(key, gpus)
        if gpus < before or (waited is not None and wanted <= gpus):
            self._wake_others(key)

    def _take_over(self, key: Key, item: Manifest) -> None:
        """Count what a status says."""
        noted = (item.get("status") or {}).get("quota") or {}
        gpus, wanted = int(noted.get("gpus", 0)), int(noted.get("wanted", 0))
        self._put(key, gpus)
        if wanted > gpus:
            self._waiting[key] = _Waiting(created_of(item["metadata"]), key, wanted)

    def _put(self, key: Key, gpus: int) -> None:
        grants = self._granted.setdefault(key.namespace, {})
        if gpus:
            grants[key] = gpus
        else:
            grants.pop(key, None)
        if not grants:
            del self._granted[key.namespace]

    def _release(self, key: Key) -> None:
        self._put(key, 0)
        self._waiting.pop(key, None)
        self._wake_others(key)

    def _wake_others(self, key: Key) -> None:
        for waiting in sorted(self._waiting.values()):
            if waiting.key != key:
                self._wake(waiting.key)


def created_of(metadata: Mapping[str, Any]) -> str:
    """When an object was created, as the API server wrote it; compared as text."""
    return str(metadata.get("creationTimestamp", ""))


def _booked(document: Manifest) -> Manifest:
    """What a count needs of a deployment."""
    metadata, status = document["metadata"], document.get("status") or {}
    named = {name: metadata.get(name, "") for name in ("namespace", "name", "creationTimestamp")}
    return {"metadata": named, "status": {"quota": status.get("quota")}}


def _owned(view: PolicyView, namespace: str, tenant: str) -> bool:
    owner = view.namespaces.get(namespace)
    return owner is not None and owner.tenant == tenant
