"""The running operator: workers on the queue, and what puts keys on it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable

from paddock_core.policy.view import PolicyView
from paddock_core.policy.wire import Change

from paddock_operator.cache import Cache
from paddock_operator.errors import ClusterError, ConflictError, NotLeadingError, OperatorError
from paddock_operator.index import Index, concerned, is_at_rest, key_of
from paddock_operator.leader import LeaderElector
from paddock_operator.ports import Clock, Key, Manifest
from paddock_operator.queue import BACKOFF_MAX_SECONDS, WorkQueue
from paddock_operator.reconcile import Reconciler

log = logging.getLogger(__name__)

Known = Callable[[Key], bool]
"""Whether the last look at a key saw what is there now."""
Relist = Callable[[], Awaitable[Iterable[Manifest]]]
"""Lists all deployments, and lets the caches know."""


def _none(_key: Key) -> bool:
    return False


RESYNC_SPREAD_SECONDS = 20.0
RESYNC_RETRY_SECONDS = 5.0
NOT_LEADING_SECONDS = 1.0
CONFLICT_MAX_SECONDS = 5.0
"""Somebody was faster: the next round sees what he did, so there is nothing to wait long for."""
ROUNDS_A_PASS = 3
"""Rounds that begin in one pass of the event loop: with one, keys wait for longer where much comes in; with eight, the
loop comes back a quarter of a second late."""
LAG_SECONDS = 0.25
LOAD_SECONDS = 1.0
"""Requests come and go all the time: so often at most they move a round."""
CHILD_SECONDS = 0.5
"""A pod that comes up changes half a dozen times within a second, and its controllers' objects with it."""
BEGIN_SECONDS = 180.0
"""For so long what has only come lets those go first that are on their way. Whoever is nearly there is done within a
moment; and of a thousand that come at once, the last pods come up while the first are served, not after all were begun.
"""


class Loop:
    """Level-triggered: events only say which key to look at."""

    def __init__(
        self,
        *,
        queue: WorkQueue,
        index: Index,
        clock: Clock,
        resync_seconds: float,
    ) -> None:
        self.queue = queue
        self._index = index
        self._clock = clock
        self._resync_seconds = resync_seconds
        self._resynced_at = clock.boottime()
        self._turn = asyncio.Semaphore(ROUNDS_A_PASS)

    def heard(self, manifest: Manifest, gone: bool) -> None:  # noqa: FBT001 - as caches tell
        """A LlamaDeployment came, changed, or went. A change of its status is our own write, as a rule: what follows
        from it is what its children and gateways tell, a moment later. From one that says that all is as asked
        nothing follows: that is looked at when nobody waits for a round."""
        key = key_of(manifest)
        if gone:
            self._index.drop(key)
            self.queue.add(key)
            return
        came = not self._index.knows(key)
        if self._index.put(manifest):
            self.queue.add(key, patience_seconds=BEGIN_SECONDS if came else 0.0)
        else:
            patience = BEGIN_SECONDS if is_at_rest(manifest) else 0.0
            self.queue.add(key, after_seconds=CHILD_SECONDS, patience_seconds=patience)

    def child_changed(self, key: Key) -> None:
        """Something that belongs to a deployment changed: a moment later, since such changes rarely come alone."""
        self.queue.add(key, after_seconds=CHILD_SECONDS)

    def wanted(self, key: Key) -> None:
        """Somebody waits for this deployment: at once."""
        self.queue.add(key)

    def confirmed(self, key: Key, *, serves: bool) -> None:
        """A gateway follows the routing that it was told. If that has endpoints, this is what it is waited for; one
        without any changes no more than the status itself."""
        self.queue.add(key, after_seconds=0.0 if serves else CHILD_SECONDS)

    def loaded(self, key: Key) -> None:
        """More or less is asked of a deployment: that concerns those that are scaled by it."""
        if self._index.is_scaled(key):
            self.queue.add(key, after_seconds=LOAD_SECONDS)

    def job_changed(self, job: str) -> None:
        """A weights Job or its pod changed: a moment later, as of children; many deployments may be of one model."""
        for key in self._index.waiting_for(job):
            self.queue.add(key, after_seconds=CHILD_SECONDS)

    def policy_changed(self, changes: tuple[Change, ...] | None, before: PolicyView, after: PolicyView) -> None:
        """The policy changed; None means that anything may have."""
        namespaces = None if changes is None else concerned(changes, before=before, after=after)
        for key in self._index.in_namespaces(namespaces):
            self.queue.add(key)

    def resync_age_seconds(self) -> float:
        """Since the last full look."""
        return self._clock.boottime() - self._resynced_at

    async def resync(self, cache: Cache, relist: Relist, *, spread_seconds: float, known: Known = _none) -> None:
        """Look at everything: all deployments, and all that own objects though they may be gone (orphans). One of
        which nothing is new, and whose next look is due anyway, is left in peace."""
        self._index.replace(await relist())
        self._resynced_at = self._clock.boottime()
        # In an order, so that the same chance spreads them alike.
        for key in sorted({*self._index.keys(), *cache.owners()}, key=str):
            if key in self.queue and known(key):
                continue
            self.queue.add(
                key, after_seconds=self.queue.chance.uniform(0, spread_seconds), patience_seconds=BEGIN_SECONDS
            )

    async def resync_forever(self, cache: Cache, relist: Relist, leader: LeaderElector, known: Known = _none) -> None:
        """Whenever leadership is gained, and every so often after that. The caches list anew by themselves."""
        while True:
            await leader.leading.wait()
            try:
                await self.resync(cache, relist, spread_seconds=0.0)
                while not await self._lost_before_next(leader):
                    await self.resync(cache, relist, spread_seconds=RESYNC_SPREAD_SECONDS, known=known)
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

    async def measure_lag(self, lagged: Callable[[float], None]) -> None:
        """Never returns. A loop that comes back late has something in it that should be shorter."""
        while True:
            begin = self._clock.boottime()
            await asyncio.sleep(LAG_SECONDS)
            lagged(max(0.0, self._clock.boottime() - begin - LAG_SECONDS))

    async def work(self, reconciler: Reconciler, leader: LeaderElector) -> None:
        """One worker. Never returns."""
        while True:
            await leader.leading.wait()
            key = await self.queue.take()
            await self._its_turn()
            await self._round(key, reconciler)

    async def _its_turn(self) -> None:
        """Few rounds begin each time the event loop comes around. A round that asks nobody never waits: those of all
        workers in a row, or a thousand of one, would keep all else waiting."""
        await self._turn.acquire()
        asyncio.get_running_loop().call_soon(self._turn.release)

    async def _round(self, key: Key, reconciler: Reconciler) -> None:
        try:
            look_after = await reconciler.reconcile(key)
        except NotLeadingError:
            # Whoever leads has this key too. It may be us again within a moment, so it is kept.
            self.queue.done(key, look_after_seconds=NOT_LEADING_SECONDS)
        except OperatorError as error:
            about = error.about if isinstance(error, ClusterError) else ""
            most = CONFLICT_MAX_SECONDS if isinstance(error, ConflictError) else BACKOFF_MAX_SECONDS
            delay = self.queue.failed(key, of=about, most_seconds=most)
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
