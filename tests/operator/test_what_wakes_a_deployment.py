"""What is asked of a deployment is looked at at once, what it tells of itself a moment later, what came last of all."""

import asyncio
import random
from typing import Any

import pytest
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.signals import DeploymentSignal, GatewayReport
from paddock_operator.documents import Documents
from paddock_operator.index import Index
from paddock_operator.loop import BEGIN_SECONDS, CHILD_SECONDS, ROUNDS_A_PASS, Loop
from paddock_operator.ports import Key, Manifest
from paddock_operator.queue import WorkQueue
from paddock_operator.signals_book import SignalBook

OLD, NEW = Key("acme", "old"), Key("acme", "new")


class Time:
    """A clock that stands."""

    def __init__(self) -> None:
        self.now = 100.0

    def boottime(self) -> float:
        return self.now


def manifest(key: Key, *, status: str = "", **metadata: Any) -> Manifest:
    known = {"namespace": key.namespace, "name": key.name, "uid": "u1", "generation": 1}
    return {"metadata": {**known, **metadata}, "spec": {}, "status": {"phase": status}}


def made() -> tuple[Loop, Time]:
    """A loop whose round for OLD is over."""
    clock: Any = Time()
    loop = Loop(
        queue=WorkQueue(time=clock.boottime, random_source=random.Random(1)),
        index=Index(packaged_catalog(), registered=dict),
        clock=clock,
        resync_seconds=3600,
    )
    loop.heard(manifest(OLD), False)
    return loop, clock


async def looked_at(loop: Loop, key: Key) -> None:
    assert await loop.queue.take() == key
    loop.queue.done(key)


def is_due(loop: Loop, clock: Time) -> bool:
    clock.now += 0.01
    return loop.queue.oldest_age_seconds() > 0


async def test_its_own_status_is_looked_at_a_moment_later() -> None:
    loop, clock = made()
    await looked_at(loop, OLD)
    loop.heard(manifest(OLD, status="Pending", finalizers=["ours"], resourceVersion="2"), False)
    assert not is_due(loop, clock)
    clock.now += CHILD_SECONDS
    assert is_due(loop, clock)


def told(key: Key, **conditions: str) -> Manifest:
    """A deployment of whose specification nothing is new, with a status of these conditions."""
    found = [{"type": kind, "status": status} for kind, status in conditions.items()]
    return {**manifest(key, resourceVersion="2"), "status": {"conditions": found}}


async def test_a_status_by_which_all_is_as_asked_lets_those_go_first_that_came() -> None:
    loop, clock = made()
    await looked_at(loop, OLD)
    loop.heard(manifest(NEW), False)
    loop.heard(told(OLD, Serving="True", Routable="True"), False)
    clock.now += CHILD_SECONDS
    await looked_at(loop, NEW)
    await looked_at(loop, OLD)


@pytest.mark.parametrize(
    "conditions",
    [
        {},
        {"Serving": "False", "Routable": "True"},
        {"Serving": "True", "Routable": "False"},
        {"Serving": "True"},
        {"Serving": "True", "Routable": "True", "Progressing": "True"},
        {"Serving": "True", "Routable": "True", "Progressing": "False"},
    ],
)
async def test_any_other_status_does_not(conditions: dict[str, str]) -> None:
    loop, clock = made()
    await looked_at(loop, OLD)
    loop.heard(manifest(NEW), False)
    loop.heard(told(OLD, **conditions), False)
    clock.now += CHILD_SECONDS
    await looked_at(loop, OLD)


@pytest.mark.parametrize(
    "asked",
    [
        {"generation": 2},
        {"annotations": {"paddock.dev/retry": "1"}},
        {"labels": {"team": "a"}},
        {"deletionTimestamp": "2026-01-01T00:00:00Z"},
        {"uid": "u2"},
    ],
)
async def test_what_is_asked_is_looked_at_at_once(asked: dict[str, Any]) -> None:
    loop, clock = made()
    await looked_at(loop, OLD)
    loop.heard(manifest(OLD, **asked), False)
    assert is_due(loop, clock)


async def test_its_end_is_looked_at_at_once() -> None:
    loop, clock = made()
    await looked_at(loop, OLD)
    loop.heard(manifest(OLD), True)
    assert is_due(loop, clock)


async def test_what_is_under_way_is_brought_to_its_end_before_another_is_begun() -> None:
    loop, clock = made()
    await looked_at(loop, OLD)
    loop.heard(manifest(NEW), False)
    clock.now += BEGIN_SECONDS / 2
    loop.wanted(OLD)
    await looked_at(loop, OLD)
    await looked_at(loop, NEW)


async def test_what_came_does_not_wait_for_ever() -> None:
    loop, clock = made()
    await looked_at(loop, OLD)
    loop.heard(manifest(NEW), False)
    clock.now += BEGIN_SECONDS + 1
    loop.wanted(OLD)
    await looked_at(loop, NEW)


async def test_what_somebody_waits_for_has_no_patience() -> None:
    loop, clock = made()
    await looked_at(loop, OLD)
    loop.heard(manifest(NEW), False)
    loop.wanted(NEW)
    clock.now += 1
    loop.wanted(OLD)
    await looked_at(loop, NEW)


async def test_a_confirmed_routing_is_waited_for_where_it_has_endpoints() -> None:
    loop, clock = made()
    await looked_at(loop, OLD)
    loop.confirmed(OLD, serves=False)
    assert not is_due(loop, clock)
    loop.confirmed(OLD, serves=True)
    assert is_due(loop, clock)


async def test_between_two_rounds_all_else_has_its_turn() -> None:
    loop, _ = made()
    for number in range(20):
        loop.wanted(Key("acme", f"d{number}"))
    begun: list[int] = []
    passes = 0

    class Reconciler:
        async def reconcile(self, _key: Key) -> None:
            begun.append(passes)

    class Leader:
        leading = asyncio.Event()

    Leader.leading.set()
    who: Any = (Reconciler(), Leader())
    workers = [asyncio.create_task(loop.work(*who)) for _ in range(8)]
    while len(begun) < 20:
        await asyncio.sleep(0)
        passes += 1
    for worker in workers:
        worker.cancel()
    await asyncio.gather(*workers, return_exceptions=True)
    assert max(begun.count(at) for at in begun) <= ROUNDS_A_PASS, "few rounds begin in one pass of the event loop"


def test_gateways_that_follow_another_routing_are_told_apart_from_requests_that_wait() -> None:
    told: dict[str, list[Key]] = {"wake": [], "confirmed": []}
    clock: Any = Time()
    book = SignalBook(clock=clock, wake=told["wake"].append, confirmed=told["confirmed"].append, configured=True)
    for changes in ({"routing": "d1"}, {"routing": "d1"}, {"routing": "d2"}, {"routing": "d3", "held": 1}):
        signal = DeploymentSignal(name=str(OLD), uid="u1", **changes)
        book.take("a", GatewayReport(instance="g", started_at=1.0, cursor=1, synced=True, deployments=(signal,)))
    assert told == {"wake": [OLD], "confirmed": [OLD, OLD]}


def test_documents_say_whether_gateways_were_told_of_an_endpoint() -> None:
    cluster: Any = None
    clock: Any = Time()
    documents = Documents(cluster=cluster, clock=clock, changed=lambda _manifest, _gone: None)
    routings: list[Any] = [None, {"targets": [{"endpoints": []}]}, {"targets": [{"endpoints": [{"url": "u"}]}]}]
    found = []
    for number, routing in enumerate(routings, start=1):
        found.append(documents.is_served(OLD))
        documents.reflector.found({**manifest(OLD, resourceVersion=str(number)), "status": {"routing": routing}})
    assert [*found, documents.is_served(OLD)] == [False, False, False, True]
