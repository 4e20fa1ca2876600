"""What is heard of nodes reaches the deployments whose pods are there, once it is news, and only while it is fresh."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from paddock_core.resources import names
from paddock_operator.cache import NODES_FRESH_SECONDS, Cache
from paddock_operator.decide.node_faults import FaultRules
from paddock_operator.errors import NotFoundError
from paddock_operator.kinds import NODE, OPTIONAL, POD
from paddock_operator.nodes_book import KEEP_SECONDS, FaultBook
from paddock_operator.ports import Key, Listing, Reduce, WatchEvent, whole

START = 1_800_000_000.0
SINCE = "2027-01-15T07:00:00Z"
"""An hour before that."""
RULES = FaultRules()


def node(
    name: str = "gpu-1", *, version: int = 1, ready: str = "True", since: str = SINCE, **status: Any
) -> dict[str, Any]:
    beat = {"lastHeartbeatTime": f"2027-01-15T08:00:{version:02}Z", "lastTransitionTime": since}
    conditions = [{"type": "Ready", "status": ready, **beat}, {"type": "DiskPressure", "status": "False", **beat}]
    amounts = {"capacity": {"nvidia.com/gpu": "8", "cpu": "64"}, "allocatable": {"nvidia.com/gpu": "8"}}
    metadata = {"name": name, "resourceVersion": str(version), "labels": {"nvidia.com/gpu.product": "X"}}
    return {"metadata": metadata, "spec": {}, "status": {**amounts, "conditions": conditions, **status}}


def pod(name: str, *, on: str) -> dict[str, Any]:
    labels = {
        names.MANAGED_BY: names.OPERATOR,
        names.COMPONENT: names.SERVING,
        names.DEPLOYMENT_NAMESPACE: "acme",
        names.DEPLOYMENT_NAME: name,
    }
    metadata = {
        "name": name,
        "namespace": names.serving_namespace("acme"),
        "uid": name,
        "resourceVersion": "1",
        "labels": labels,
    }
    return {"metadata": metadata, "spec": {"nodeName": on, "containers": []}, "status": {}}


class Clock:
    def __init__(self) -> None:
        self.at = START

    def now(self) -> float:
        return self.at

    def boottime(self) -> float:
        return self.at


class Cluster:
    """Nodes that change, and pods that stay."""

    def __init__(self, nodes: list[dict[str, Any]], pods: list[dict[str, Any]]) -> None:
        self.found = {NODE: nodes, POD: pods}
        self.changes: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def list(self, kind: Any, *, selector: str = "", reduce: Reduce = whole) -> Listing:
        if kind in OPTIONAL:
            raise NotFoundError("404 page not found", status=404)
        return Listing([reduce(item) for item in self.found.get(kind, [])], "1")

    async def watch(self, kind: Any, *, selector: str = "", revision: str) -> AsyncIterator[WatchEvent]:
        while kind == NODE:
            yield WatchEvent("MODIFIED", await self.changes.get())
        await asyncio.Event().wait()
        yield WatchEvent("BOOKMARK", {})


@contextlib.asynccontextmanager
async def cached(cluster: Any, clock: Clock, heard: list[Key]) -> AsyncIterator[Cache]:
    cache = Cache(cluster=cluster, clock=clock, changed=heard.append, job_changed=lambda _job: None)
    tasks = [asyncio.create_task(reflector.run()) for reflector in cache.reflectors()]
    try:
        for reflector in cache.reflectors():
            await asyncio.wait_for(reflector.synced.wait(), 30)
        yield cache
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until_told(cluster: Cluster, *changes: dict[str, Any]) -> None:
    for change in changes:
        cluster.changes.put_nowait(change)
    # Nothing here waits for anything but the loop itself.
    for _ in range(200):
        await asyncio.sleep(0)
    assert cluster.changes.empty()


async def test_a_node_that_goes_wrong_wakes_those_with_pods_there_and_a_heartbeat_nobody() -> None:
    pods = [pod("chat", on="gpu-1"), pod("talk", on="gpu-2")]
    cluster, heard, clock = Cluster([node("gpu-1"), node("gpu-2"), node("gpu-3")], pods), list[Key](), Clock()
    async with cached(cluster, clock, heard) as cache:
        heard.clear()
        await until_told(cluster, node("gpu-1", version=2))
        assert heard == []
        await until_told(cluster, node("gpu-1", version=3, ready="Unknown"))
        assert set(heard) == {Key("acme", "chat")}
        clock.at += RULES.lost_seconds
        assert set(cache.faults().lost) == {"gpu-1"}
        heard.clear()
        await until_told(cluster, node("gpu-2", version=4, allocatable={"nvidia.com/gpu": "7"}))
        assert set(heard) == {Key("acme", "talk")}
        assert dict(cache.faults().short) == {"gpu-2": 7}


async def test_nodes_of_which_nothing_was_heard_for_long_are_not_judged() -> None:
    clock = Clock()
    nodes = [node("gpu-1", ready="Unknown"), node("gpu-2"), node("gpu-3")]
    async with cached(Cluster(nodes, []), clock, []) as cache:
        clock.at += RULES.lost_seconds
        assert set(cache.faults().lost) == {"gpu-1"}
        clock.at += NODES_FRESH_SECONDS + 1
        assert (dict(cache.faults().lost), bool(cache.faults().distrusted)) == ({}, True)


@pytest.mark.parametrize(
    ("changed", "news"),
    [
        ({"version": 2}, False),
        ({"ready": "False"}, True),
        ({"allocatable": {"nvidia.com/gpu": "7"}}, True),
        ({"allocatable": {"nvidia.com/gpu": "8", "cpu": "1"}}, False),
    ],
    ids=["heartbeat", "not ready", "GPU less", "processors less"],
)
def test_only_what_can_be_a_fault_is_news(changed: dict[str, Any], news: bool) -> None:
    book = FaultBook(rules=RULES)
    assert not book.is_news(node(), now=START), "a node that is seen first is none"
    assert book.is_news(node(**changed), now=START) is news
    assert not book.is_news(node(**changed), now=START)


def test_faults_are_looked_at_again_when_a_node_changes_or_time_passes() -> None:
    book, nodes = FaultBook(rules=RULES), [node("a"), node("b"), node("c")]
    first = book.look(nodes, version=1, now=START, fresh=True)
    assert book.look(nodes, version=1, now=START + KEEP_SECONDS / 2, fresh=True) is first
    assert book.look(nodes, version=1, now=START + 9 * KEEP_SECONDS, fresh=True) is first, "nothing that time changes"
    assert book.look(nodes, version=1, now=START, fresh=False).distrusted
    nodes[0] = node("a", ready="False")
    silent = book.look(nodes, version=2, now=START, fresh=True)
    assert set(silent.waiting) == {"a"}
    assert book.look(nodes, version=2, now=START + KEEP_SECONDS / 2, fresh=True) is silent
    lost = book.look(nodes, version=2, now=START + RULES.lost_seconds, fresh=True)
    assert set(lost.lost) == {"a"}, "nobody told anything: time has passed"


def test_a_node_that_offers_nothing_counts_once_time_has_passed_though_no_node_changes() -> None:
    book = FaultBook(rules=RULES)
    nodes = [node("a", allocatable={"nvidia.com/gpu": "0"}), node("b"), node("c")]
    assert set(book.look(nodes, version=1, now=START, fresh=True).waiting) == {"a"}
    assert set(book.look(nodes, version=1, now=START + RULES.bare_seconds, fresh=True).short) == {"a"}


@pytest.mark.parametrize("said", ["2027-01-15T07:00:00Z", "2027-01-15T08:00:00Z", "2027-01-15T09:00:00Z"])
def test_a_node_is_lost_once_it_was_seen_silent_long_enough_whatever_clock_says_since_when(said: str) -> None:
    book, sound = FaultBook(rules=RULES), [node("a"), node("b")]
    silent = node("c", ready="Unknown", since=said)
    assert book.is_news(node("c"), now=START - 500) is False
    assert book.is_news(silent, now=START)
    early = book.look([*sound, silent], version=1, now=START + RULES.lost_seconds - 1, fresh=True)
    assert (dict(early.lost), dict(early.waiting)) == ({}, {"c": 1.0})
    late = book.look([*sound, silent], version=2, now=START + RULES.lost_seconds, fresh=True)
    assert dict(late.lost) == {"c": "node c has not answered for 60 s"}


def test_each_silence_of_a_node_has_its_own_time() -> None:
    book, sound = FaultBook(rules=RULES), [node("a"), node("b")]
    before, after = (node("c", ready="Unknown", since=since) for since in (SINCE, "2027-01-15T07:30:00Z"))
    book.look([*sound, before], version=1, now=START, fresh=True)
    # It answered for a moment, of which no watch told.
    again = book.look([*sound, after], version=2, now=START + RULES.lost_seconds, fresh=True)
    assert (dict(again.lost), dict(again.waiting)) == ({}, {"c": RULES.lost_seconds})
    book.look([*sound, node("c")], version=3, now=START + 70, fresh=True)
    anew = book.look([*sound, after], version=4, now=START + 80, fresh=True)
    assert dict(anew.waiting) == {"c": RULES.lost_seconds}


def test_since_when_a_node_offers_nothing_is_remembered_until_it_offers_again() -> None:
    book = FaultBook(rules=RULES)
    sound, bare = [node("a"), node("b")], node("c", allocatable={"nvidia.com/gpu": "0"})
    first = book.look([*sound, bare], version=1, now=START, fresh=True)
    assert (dict(first.short), dict(first.waiting)) == ({}, {"c": RULES.bare_seconds})
    later = book.look([*sound, bare], version=2, now=START + RULES.bare_seconds, fresh=True)
    assert dict(later.short) == {"c": 0}
    book.look([*sound, node("c")], version=3, now=START + 400, fresh=True)
    again = book.look([*sound, bare], version=4, now=START + 401, fresh=True)
    assert dict(again.short) == {}


async def test_parts_of_gpus_stay_in_what_is_kept_of_a_node() -> None:
    part = "nvidia.com/mig-1g.10gb"
    cut = node("gpu-1", capacity={part: "7", "cpu": "64"}, allocatable={part: "6", "cpu": "60"})
    async with cached(Cluster([cut, node("gpu-2"), node("gpu-3")], []), Clock(), []) as cache:
        assert dict(cache.faults().short) == {"gpu-1": 6}
