"""A kind whose API the cluster lacks is noticed as absent, when it comes, and when it goes again."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from paddock_operator import reflector
from paddock_operator.adapters.clock import SystemClock
from paddock_operator.errors import NotFoundError
from paddock_operator.kinds import LEADER_WORKER_SET, POD
from paddock_operator.ports import Listing, Reduce, WatchEvent, whole
from paddock_operator.reflector import Reflector


class Cluster:
    """Serves one kind, or does not."""

    def __init__(self) -> None:
        self.serves = False
        self.asked = 0
        self.ended = asyncio.Event()

    async def list(self, kind: Any, *, selector: str = "", reduce: Reduce = whole) -> Listing:
        self.asked += 1
        if not self.serves:
            raise NotFoundError("404 page not found", status=404)
        metadata = {"namespace": "n", "name": "group", "resourceVersion": "1"}
        return Listing([reduce({"metadata": metadata})], "1")

    async def watch(self, kind: Any, *, selector: str = "", revision: str) -> AsyncIterator[WatchEvent]:
        await self.ended.wait()
        raise NotFoundError("404 page not found", status=404)
        yield WatchEvent("BOOKMARK", {})  # type: ignore[unreachable]  # what makes this a generator


async def test_an_api_is_absent_comes_and_goes(monkeypatch: pytest.MonkeyPatch, eventually: Any) -> None:
    monkeypatch.setattr(reflector, "ABSENT_SECONDS", 0.01)
    cluster = Cluster()
    told: list[Any] = []
    own: Any = cluster
    made = Reflector(cluster=own, kind=LEADER_WORKER_SET, clock=SystemClock(), changed=told.append, optional=True)
    task = asyncio.create_task(made.run())
    try:
        await eventually(lambda: made.synced.is_set() and cluster.asked > 2)
        assert (made.served, list(made.all())) == (False, [])
        cluster.serves = True
        await eventually(lambda: made.served)
        assert len(list(made.all())) == 1
        cluster.serves = False
        cluster.ended.set()
        await eventually(lambda: not made.served)
        assert (list(made.all()), len(told)) == ([], 2)
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_a_kind_that_must_be_there_is_never_taken_as_absent(
    monkeypatch: pytest.MonkeyPatch, eventually: Any
) -> None:
    monkeypatch.setattr(reflector, "RETRY_FIRST_SECONDS", 0.01)
    cluster: Any = Cluster()
    made = Reflector(cluster=cluster, kind=POD, clock=SystemClock(), changed=lambda _pod: None)
    task = asyncio.create_task(made.run())
    try:
        await eventually(lambda: cluster.asked > 2)
        assert not made.synced.is_set()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
