"""More or less load queues a deployment that is scaled by it, and no other; small changes queue nobody."""

import random
from typing import Any

from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.signals import DeploymentSignal, GatewayReport
from paddock_operator.gateways import FRESH_SECONDS
from paddock_operator.index import Index
from paddock_operator.loop import LOAD_SECONDS, Loop
from paddock_operator.ports import Key
from paddock_operator.queue import WorkQueue
from paddock_operator.signals_book import SignalBook

from tests.operator.clocks import Clock

SCALED, FIXED = Key("acme", "scaled"), Key("acme", "fixed")


def manifest(key: Key, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"namespace": key.namespace, "name": key.name}, "spec": {"model": {"id": "m"}, **spec}}


def report(load: int, *, key: Key = SCALED, held: int = 0, started_at: float = 1.0) -> GatewayReport:
    signal = DeploymentSignal(name=str(key), uid=key.name, in_flight=load, held=held)
    return GatewayReport(instance=f"g{started_at}", started_at=started_at, cursor=1, synced=True, deployments=(signal,))


def book() -> tuple[SignalBook, list[Key]]:
    told: list[Key] = []
    return SignalBook(clock=Clock(), wake=lambda _: None, loaded=told.append, configured=True), told


def test_the_first_request_and_the_last_are_told() -> None:
    signals, told = book()
    signals.take("a", report(0))
    assert told == []
    signals.take("a", report(1))
    signals.take("a", report(1))
    assert told == [SCALED]
    signals.take("a", report(0))
    assert told == [SCALED, SCALED]


def test_little_changes_are_not_told_until_they_add_up() -> None:
    signals, told = book()
    for load in (100, 105, 109, 95, 110):
        signals.take("a", report(load))
    assert told == [SCALED]
    signals.take("a", report(111))
    assert told == [SCALED, SCALED]


def test_gateways_add_up_and_held_requests_count() -> None:
    signals, told = book()
    signals.take("a", report(100))
    signals.take("b", report(5, started_at=2.0))
    assert told == [SCALED]
    signals.take("b", report(5, held=6, started_at=2.0))
    assert told == [SCALED, SCALED]


def test_only_what_is_scaled_is_looked_at() -> None:
    clock = Clock()
    queue = WorkQueue(time=clock.boottime, random_source=random.Random(1))
    index = Index(packaged_catalog(), registered=dict)
    loop = Loop(queue=queue, index=index, clock=clock, resync_seconds=600)
    index.put(manifest(SCALED, scaling={"maxReplicas": 3}))
    index.put(manifest(FIXED))
    loop.loaded(FIXED)
    assert len(queue) == 0
    loop.loaded(SCALED)
    assert SCALED in queue
    clock.boot += LOAD_SECONDS
    assert queue._pop_due() == SCALED
    index.put(manifest(SCALED))
    loop.loaded(SCALED)
    assert len(queue) == 0
    index.put(manifest(SCALED, scaling={"maxReplicas": 3}))
    index.drop(SCALED)
    loop.loaded(SCALED)
    assert len(queue) == 0


def test_what_is_asked_is_only_whole_when_every_gateway_tells_it() -> None:
    clock = Clock()
    signals = SignalBook(clock=clock, wake=lambda _: None, configured=True)
    assert not signals.about("scaled").complete
    clock.boot += 100
    signals.take("a", report(1))
    assert not signals.about("scaled").complete, "others may not have had the time to answer"
    clock.boot += FRESH_SECONDS
    signals.take("a", report(1))
    assert signals.about("scaled").complete
    signals.take("b", report(1, started_at=2.0))
    clock.boot += FRESH_SECONDS + 1
    signals.take("a", report(1))
    silent = signals.about("scaled")
    assert silent.fresh
    assert not silent.complete
    signals.clear()
    signals.take("a", report(1))
    assert not signals.about("scaled").complete, "as after a change of the leader"
