"""What takes long in the one thread of the operator is done in pieces, between which all else goes on."""

import asyncio
import random
from typing import Any

import httpx2
from aiohttp import web
from paddock_core.catalog.packaged import packaged_catalog
from paddock_operator.adapters.cluster import AT_A_STRETCH, PAGE, LightkubeCluster
from paddock_operator.index import Index
from paddock_operator.kinds import POD
from paddock_operator.loop import ROUNDS_A_PASS, Loop
from paddock_operator.ports import Key
from paddock_operator.queue import WorkQueue

ROUNDS = 200
OBJECTS = 600


class Clock:
    def boottime(self) -> float:
        return asyncio.get_running_loop().time()

    def now(self) -> float:
        return self.boottime()


class Leader:
    def __init__(self) -> None:
        self.leading = asyncio.Event()
        self.leading.set()


class Counting:
    """Rounds that ask nobody anything; how often the event loop came around is counted beside them."""

    def __init__(self) -> None:
        self.rounds = 0
        self.turns_at_the_end = 0
        self.turns = 0
        self.done = asyncio.Event()

    async def reconcile(self, _key: Key) -> float:
        self.rounds += 1
        if self.rounds == ROUNDS:
            self.turns_at_the_end = self.turns
            self.done.set()
        return 3600.0

    async def turn(self) -> None:
        while True:
            self.turns += 1
            await asyncio.sleep(0)


async def test_rounds_that_never_wait_keep_nobody_waiting() -> None:
    clock: Any = Clock()
    loop = Loop(
        queue=WorkQueue(time=clock.boottime, random_source=random.Random(1)),
        index=Index(packaged_catalog(), registered=dict),
        clock=clock,
        resync_seconds=3600,
    )
    for number in range(ROUNDS):
        loop.wanted(Key("t", str(number)))
    counting: Any = Counting()
    leader: Any = Leader()
    tasks = [asyncio.create_task(counting.turn()), asyncio.create_task(loop.work(counting, leader))]
    async with asyncio.timeout(60):
        await counting.done.wait()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert counting.turns_at_the_end >= ROUNDS // ROUNDS_A_PASS - 1


async def test_a_list_is_read_object_by_object() -> None:
    sent: list[dict[str, Any]] = [
        {"metadata": {"name": f"p{number}", "resourceVersion": "1"}, "spec": {"n": number}} for number in range(OBJECTS)
    ]
    asked: list[tuple[str, str]] = []

    async def answer(request: web.Request) -> web.Response:
        start, size = int(request.query.get("continue", "0")), int(request.query["limit"])
        asked.append((request.query.get("labelSelector", ""), str(size)))
        after = {"continue": str(start + size)} if start + size < OBJECTS else {}
        return web.json_response({"metadata": {"resourceVersion": "7", **after}, "items": sent[start : start + size]})

    reduced: list[str] = []

    def name_alone(manifest: dict[str, Any]) -> dict[str, Any]:
        assert (manifest["apiVersion"], manifest["kind"]) == ("v1", "Pod")
        reduced.append(manifest["metadata"]["name"])
        return {"name": manifest["metadata"]["name"]}

    app = web.Application()
    app.router.add_get("/api/v1/pods", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    counting = Counting()
    turning = asyncio.create_task(counting.turn())
    try:
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            cluster = LightkubeCluster(client, may_write=lambda: None)
            listing = await cluster.list(POD, selector="a=b", reduce=name_alone)
            unreduced = await cluster.list(POD)
    finally:
        turning.cancel()
        await asyncio.gather(turning, return_exceptions=True)
        await runner.cleanup()
    names = [item["metadata"]["name"] for item in sent]
    assert listing.items == [{"name": name} for name in names]
    assert (listing.revision, reduced) == ("7", names)
    assert unreduced.items == [{"apiVersion": "v1", "kind": "Pod", **item} for item in sent]
    assert asked[0] == ("a=b", str(PAGE))
    assert len(asked) == 2 * -(-OBJECTS // PAGE)
    assert counting.turns > 2 * OBJECTS // AT_A_STRETCH
