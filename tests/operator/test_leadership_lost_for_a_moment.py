"""A renewal that times out on a busy machine costs a moment of leadership, and never a key."""

import asyncio
import contextlib
import random
import time

from paddock_core.catalog.packaged import packaged_catalog
from paddock_operator.errors import NotLeadingError
from paddock_operator.index import Index
from paddock_operator.leader import LeaderElector
from paddock_operator.loop import Loop
from paddock_operator.ports import Key, Manifest
from paddock_operator.queue import WorkQueue

from tests.waiting import until

KEY = Key("acme", "chat")


class Cluster:
    """An API server without deployments, which counts how often it is asked for them."""

    def __init__(self) -> None:
        self.lists = 0

    async def relist(self) -> list[Manifest]:
        self.lists += 1
        return []


class Cache:
    """The owners of children that the cluster holds."""

    def owners(self) -> set[Key]:
        return set()


class Clock:
    def now(self) -> float:
        return time.time()

    def boottime(self) -> float:
        return time.monotonic()


class Reconciler:
    """Loses leadership in the middle of its first round."""

    def __init__(self, leader: LeaderElector) -> None:
        self.rounds = 0
        self._leader = leader

    async def reconcile(self, key: Key) -> float | None:
        self.rounds += 1
        if self.rounds == 1:
            self._leader._tell(leads=False)
            raise NotLeadingError("a pause")
        return None


def parts() -> tuple[Loop, LeaderElector, Cluster]:
    cluster = Cluster()
    leader = LeaderElector(store=cluster, clock=Clock(), namespace="x", identity="me")  # type: ignore[arg-type]
    queue = WorkQueue(time=time.monotonic, random_source=random.Random(1))
    loop = Loop(
        queue=queue,
        index=Index(packaged_catalog(), registered=dict),
        clock=Clock(),
        resync_seconds=3600,
    )
    return loop, leader, cluster


async def test_a_round_that_lost_leadership_is_made_again() -> None:
    loop, leader, _ = parts()
    reconciler = Reconciler(leader)
    leader._tell(leads=True)
    loop.queue.add(KEY)
    worker = asyncio.create_task(loop.work(reconciler, leader))  # type: ignore[arg-type]
    await until(lambda: reconciler.rounds == 1)
    leader._tell(leads=True)
    await until(lambda: reconciler.rounds == 2)
    worker.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await worker


async def test_each_gain_of_leadership_looks_at_everything() -> None:
    loop, leader, cluster = parts()
    resync = asyncio.create_task(loop.resync_forever(Cache(), cluster.relist, leader))  # type: ignore[arg-type]
    leader._tell(leads=True)
    await until(lambda: cluster.lists == 1)
    leader._tell(leads=False)
    leader._tell(leads=True)
    await until(lambda: cluster.lists == 2)
    resync.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await resync
