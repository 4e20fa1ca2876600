"""Leadership against a store that behaves as the API server does: creation, optimistic replacement, conflicts."""

from typing import Any

import pytest
from paddock_operator.errors import ClusterError, ConflictError, NotFoundError, NotLeadingError
from paddock_operator.leader import DURATION_SECONDS, RENEW_DEADLINE_SECONDS, LeaderElector

from tests.operator.clocks import Clock


class Store:
    """One Lease. The real API server is used in test_deployment_life."""

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.version = 0
        self.down = False

    async def get(self, kind: Any, *, namespace: str | None, name: str) -> dict[str, Any]:
        self._check()
        if self.lease is None:
            raise NotFoundError("no lease", status=404)
        return self.lease

    async def create(self, manifest: dict[str, Any]) -> dict[str, Any]:
        self._check()
        return self._put(manifest)

    async def replace(self, manifest: dict[str, Any]) -> dict[str, Any]:
        self._check()
        if manifest["metadata"]["resourceVersion"] != str(self.version):
            raise ConflictError("changed", status=409)
        return self._put(manifest)

    def _put(self, manifest: dict[str, Any]) -> dict[str, Any]:
        self.version += 1
        metadata = {**manifest["metadata"], "resourceVersion": str(self.version)}
        self.lease = {**manifest, "metadata": metadata}
        return self.lease

    def _check(self) -> None:
        if self.down:
            raise ClusterError("nobody answers")


def elector(store: Store, identity: str, clock: Clock) -> LeaderElector:
    return LeaderElector(store=store, clock=clock, namespace="paddock-system", identity=identity)  # type: ignore[arg-type]


async def test_first_leads_second_waits_for_the_whole_duration() -> None:
    store, clock = Store(), Clock()
    one, two = elector(store, "one", clock), elector(store, "two", clock)
    await one._try()
    one.check()
    await two._try()
    with pytest.raises(NotLeadingError):
        two.check()
    clock.boot += DURATION_SECONDS + 0.1
    await two._try()
    two.check()
    with pytest.raises(NotLeadingError):
        one.check()
    await one._try()
    with pytest.raises(NotLeadingError):
        one.check()
    assert store.lease is not None
    assert store.lease["spec"]["leaseTransitions"] == 1


async def test_right_to_write_ends_before_anybody_can_take_it() -> None:
    assert RENEW_DEADLINE_SECONDS < DURATION_SECONDS
    store, clock = Store(), Clock()
    one = elector(store, "one", clock)
    await one._try()
    store.down = True
    clock.boot += RENEW_DEADLINE_SECONDS
    with pytest.raises(NotLeadingError):
        one.check()
    await one._try()
    assert not one.leading.is_set()


async def test_wall_clock_of_either_does_not_matter() -> None:
    store, clock, skewed = Store(), Clock(), Clock()
    one, two = elector(store, "one", clock), elector(store, "two", skewed)
    await one._try()
    skewed.wall += 3600
    await two._try()
    assert not two.leading.is_set()
    for _ in range(10):
        clock.boot += 2
        skewed.boot += 2
        clock.wall -= 7200
        await one._try()
        await two._try()
    one.check()
    assert not two.leading.is_set()


async def test_who_resigns_is_followed_at_once() -> None:
    store, clock = Store(), Clock()
    one, two = elector(store, "one", clock), elector(store, "two", clock)
    await one._try()
    await two._try()
    await one._resign()
    with pytest.raises(NotLeadingError):
        one.check()
    await two._try()
    two.check()


async def test_a_lost_race_is_no_leadership() -> None:
    store, clock = Store(), Clock()
    one = elector(store, "one", clock)
    await one._try()
    assert store.lease is not None
    seen = store.lease
    store._put(seen)  # somebody else wrote between our read and our write

    async def stale(kind: Any, *, namespace: str | None, name: str) -> dict[str, Any]:
        return seen

    store.get = stale  # type: ignore[method-assign]
    await one._try()
    assert not one.leading.is_set()


async def test_a_write_in_between_that_still_names_us_costs_no_leadership() -> None:
    store, clock = Store(), Clock()
    one = elector(store, "one", clock)
    await one._try()
    read = store.get

    async def touched_meanwhile(kind: Any, *, namespace: str | None, name: str) -> dict[str, Any]:
        store.get = read  # type: ignore[method-assign]
        seen = await read(kind, namespace=namespace, name=name)
        store._put(seen)
        return seen

    store.get = touched_meanwhile  # type: ignore[method-assign]
    clock.boot += 2.0
    await one._try()
    assert one.leading.is_set()
    clock.boot += RENEW_DEADLINE_SECONDS - 1.0
    one.check()
