"""The running operator: workers on the queue, and what puts keys on it."""

import asyncio
import logging
import random
from typing import Any

from paddock_core.policy.view import PolicyView
from paddock_core.policy.wire import Change

from paddock_operator.cache import Cache
from paddock_operator.errors import ClusterError, NotLeadingError, OperatorError
from paddock_operator.index import Index, concerned, key_of
from paddock_operator.kinds import LLAMA_DEPLOYMENT
from paddock_operator.leader import LeaderElector
from paddock_operator.ports import Clock, Cluster, Key
from paddock_operator.queue import WorkQueue
from paddock_operator.reconcile import Reconciler

log = logging.getLogger(__name__)

RESYNC_SPREAD_SECONDS = 20.0
RESYNC_RETRY_SECONDS = 5.0
NOT_LEADING_SECONDS = 1.0


class Loop:
    """Level-triggered: events only say which key to look at."""

    def __init__(
        self, *, cluster: Cluster, queue: WorkQueue, index: Index, clock: Clock, resync_seconds: float
    ) -> None:
        self.queue = queue
        self._cluster = cluster
        self._index = index
        self._clock = clock
        self._resync_seconds = resync_seconds
        self._resynced_at = clock.boottime()
        self._random = random.Random()  # noqa: S311 - spreads load, guards nothing

    def heard(self, kind: str, manifest: dict[str, Any]) -> None:
        """An event of a LlamaDeployment."""
        if kind == "DELETED":
            key = key_of(manifest)
            self._index.drop(key)
        else:
            key = self._index.put(manifest)
        self.queue.add(key)

    def child_changed(self, key: Key) -> None:
        """Something that belongs to a deployment changed."""
        self.queue.add(key)

    def job_changed(self, job: str) -> None:
        """A weights Job or its pod changed."""
        for key in self._index.waiting_for(job):
            self.queue.add(key)

    def policy_changed(self, changes: tuple[Change, ...] | None, before: PolicyView, after: PolicyView) -> None:
        """The policy changed; None means that anything may have."""
        namespaces = None if changes is None else concerned(changes, before=before, after=after)
        for key in self._index.in_namespaces(namespaces):
            self.queue.add(key)

    def resync_age_seconds(self) -> float:
        """Since the last full look."""
        return self._clock.boottime() - self._resynced_at

    async def resync(self, cache: Cache, *, spread_seconds: float) -> None:
        """Look at everything: all deployments, and all that own objects though they may be gone (orphans)."""
        listing = await self._cluster.list(LLAMA_DEPLOYMENT)
        self._index.replace(listing.items)
        self._resynced_at = self._clock.boottime()
        for key in {*self._index.keys(), *cache.owners()}:
            self.queue.add(key, after_seconds=self._random.uniform(0, spread_seconds))

    async def resync_forever(self, cache: Cache, leader: LeaderElector) -> None:
        """Whenever leadership is gained, and every so often after that."""
        while True:
            await leader.leading.wait()
            try:
                await self.resync(cache, spread_seconds=0.0)
                while not await self._lost_before_next(leader):
                    await self.resync(cache, spread_seconds=RESYNC_SPREAD_SECONDS)
            except ClusterError as error:
                log.warning("resync failed", extra={"error": str(error)})
                await asyncio.sleep(RESYNC_RETRY_SECONDS)

    async def _lost_before_next(self, leader: LeaderElector) -> bool:
        """Wait for the next resync; true at once when leadership is lost, however soon it is gained again."""
        try:
            async with asyncio.timeout(self._resync_seconds):
                await leader.following.wait()
        except TimeoutError:
            return False
        return True

    async def work(self, reconciler: Reconciler, leader: LeaderElector) -> None:
        """One worker. Never returns."""
        while True:
            await leader.leading.wait()
            key = await self.queue.take()
            await self._round(key, reconciler)

    async def _round(self, key: Key, reconciler: Reconciler) -> None:
        try:
            look_after = await reconciler.reconcile(key)
        except NotLeadingError:
            # Whoever leads has this key too. It may be us again within a moment, so it is kept.
            self.queue.done(key, look_after_seconds=NOT_LEADING_SECONDS)
        except OperatorError as error:
            delay = self.queue.failed(key)
            log.warning("round failed", extra={"key": str(key), "error": str(error), "retry_seconds": round(delay, 1)})
        except asyncio.CancelledError:
            self.queue.done(key)
            raise
        except Exception:
            # A poison object must not stop the others: it is tried ever more rarely, and seen in the metrics.
            delay = self.queue.failed(key)
            log.exception("round failed unexpectedly", extra={"key": str(key), "retry_seconds": round(delay, 1)})
        else:
            self.queue.done(key, look_after_seconds=look_after)
