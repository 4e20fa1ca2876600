"""Leadership by a Lease: one instance writes, the others keep their caches warm and answer the webhook.

The holder counts its own right by CLOCK_BOOTTIME from before each renewal was sent, so a pause of the process, or a
wall clock that is set, ends the right before another instance can have taken it: every write asks `check` first.
"""

import asyncio
import datetime as dt
import logging

from paddock_operator.errors import ClusterError, ConflictError, NotFoundError, NotLeadingError, told
from paddock_operator.kinds import LEASE
from paddock_operator.ports import Clock, Cluster, Manifest

log = logging.getLogger(__name__)

DURATION_SECONDS = 15.0
RENEW_DEADLINE_SECONDS = 10.0
RETRY_SECONDS = 2.0


class LeaderElector:
    """Runs for leadership. `leading` is set while this process leads, `following` while it does not.

    The writes of `store` must not ask for leadership themselves."""

    def __init__(
        self,
        *,
        store: Cluster,
        clock: Clock,
        namespace: str,
        identity: str,
        name: str = "paddock-operator",
    ) -> None:
        self.leading = asyncio.Event()
        self.following = asyncio.Event()
        self.following.set()
        self.term = 0
        """How often this process has begun to lead."""
        self._store = store
        self._clock = clock
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._until = 0.0
        self._seen: tuple[str, float] = ("", 0.0)

    def check(self) -> None:
        """Raises NotLeadingError unless this process is sure to lead now."""
        if self._clock.boottime() >= self._until:
            raise NotLeadingError("this instance does not lead now; the write is left to the one that does")

    async def run(self) -> None:
        """Never returns by itself; when cancelled, gives leadership up so that another instance need not wait."""
        try:
            while True:
                await self._try()
                await asyncio.sleep(RETRY_SECONDS)
        finally:
            await self._resign()

    async def _try(self) -> None:
        asked_at = self._clock.boottime()
        try:
            async with asyncio.timeout(RENEW_DEADLINE_SECONDS / 2):
                if await self._acquire_or_renew():
                    self._until = asked_at + RENEW_DEADLINE_SECONDS
        except (ClusterError, TimeoutError) as error:
            log.warning("lease not renewed", extra={"error": told(error)})
        self._tell(leads=self._clock.boottime() < self._until)

    async def _acquire_or_renew(self, *, again: bool = True) -> bool:
        try:
            lease = await self._store.get(LEASE, namespace=self._namespace, name=self._name)
        except NotFoundError:
            await self._store.create(self._lease({}, transitions=0))
            return True
        spec = lease.get("spec") or {}
        mine = spec.get("holderIdentity") == self._identity
        if not mine and not self._lapsed(lease):
            self._until = 0.0
            return False
        transitions = int(spec.get("leaseTransitions", 0)) + (0 if mine else 1)
        try:
            await self._store.replace(self._lease(lease, transitions=transitions))
        except ConflictError:
            if mine and again:
                # Somebody wrote between our read and our write: whoever it names now leads.
                return await self._acquire_or_renew(again=False)
            self._until = 0.0
            return False
        return True

    def _lapsed(self, lease: Manifest) -> bool:
        """True if the holder has resigned, or has not renewed for the lease's whole duration by our own clock.

        Times that the other instance wrote are not compared with our clock: only that it still writes matters.
        """
        spec = lease.get("spec") or {}
        if not spec.get("holderIdentity"):
            return True
        revision = lease["metadata"]["resourceVersion"]
        if revision != self._seen[0]:
            self._seen = (revision, self._clock.boottime())
        return self._clock.boottime() - self._seen[1] > float(spec.get("leaseDurationSeconds", DURATION_SECONDS))

    def _lease(self, old: Manifest, *, transitions: int, holder: str | None = None) -> Manifest:
        now = dt.datetime.fromtimestamp(self._clock.now(), dt.UTC).isoformat(timespec="microseconds")
        stamp = now.replace("+00:00", "Z")
        spec = dict(old.get("spec") or {})
        mine = spec.get("holderIdentity") == self._identity
        spec |= {
            "holderIdentity": self._identity if holder is None else holder,
            "leaseDurationSeconds": int(DURATION_SECONDS),
            "leaseTransitions": transitions,
            "renewTime": stamp,
            "acquireTime": spec.get("acquireTime", stamp) if mine else stamp,
        }
        metadata = {"name": self._name, "namespace": self._namespace}
        if old:
            metadata["resourceVersion"] = old["metadata"]["resourceVersion"]
        return {"apiVersion": LEASE.api_version, "kind": LEASE.name, "metadata": metadata, "spec": spec}

    async def _resign(self) -> None:
        held = self._clock.boottime() < self._until
        self._until = 0.0
        self._tell(leads=False)
        if not held:
            return
        try:
            async with asyncio.timeout(2.0):
                lease = await self._store.get(LEASE, namespace=self._namespace, name=self._name)
                if (lease.get("spec") or {}).get("holderIdentity") == self._identity:
                    transitions = int(lease["spec"].get("leaseTransitions", 0))
                    await self._store.replace(self._lease(lease, transitions=transitions, holder=""))
        except (ClusterError, TimeoutError) as error:
            log.warning("leadership not given back; it lapses by itself", extra={"error": told(error)})

    def _tell(self, *, leads: bool) -> None:
        if leads == self.leading.is_set():
            return
        if leads:
            self.following.clear()
            self.term += 1
            self.leading.set()
        else:
            self.leading.clear()
            self.following.set()
        log.info("leadership changed", extra={"leads": leads, "identity": self._identity})
