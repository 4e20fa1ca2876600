"""One kind of write is refused, as by somebody's quota or admission policy: what needs it waits, the rest goes on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from paddock_operator.kinds import (
    CONFIG_MAP,
    EVENT,
    JOB,
    NETWORK_POLICY,
    POD,
    POD_DISRUPTION_BUDGET,
    REPLICA_SET,
    SECRET,
    SERVICE_ACCOUNT,
    Kind,
)

from faults.cluster.simulated.server import RefusedError
from faults.cluster.simulated.store import Place
from faults.cluster.simulated.world import SERVING, World, world_of

POLICY = "exceeded quota of somebody"
DEADLINE = 600
NEEDED = [CONFIG_MAP, NETWORK_POLICY, POD_DISRUPTION_BUDGET, SECRET, SERVICE_ACCOUNT]
"""What copies share, or are pinned by."""


def refuse(world: World, kind: Kind) -> None:
    """From now on no object of a kind is made or changed."""

    def refuses(method: str, path: str) -> RefusedError | None:
        made = method in ("PATCH", "POST", "PUT") and f"/{kind.plural}/" in f"{path}/"
        return RefusedError(403, POLICY, "Forbidden") if made else None

    world.api.weather.refuses = refuses


def allow(world: World) -> None:
    world.api.weather.refuses = lambda _method, _path: None


def told(world: World, kind: str = "Progressing") -> tuple[Any, Any]:
    found = world.condition("chat", kind)
    return found.get("status"), found.get("reason")


def stuck(world: World) -> bool:
    return told(world) == ("False", "ApplyFailed") and POLICY in world.condition("chat", "Progressing")["message"]


def events(world: World) -> set[str]:
    return {str(item["reason"]) for item in world.store.all(EVENT)}


def shared(world: World, kind: Kind) -> list[Place]:
    """Where objects of a kind lie among the tenant's copies."""
    return sorted(place for place in world.store.places() if place.kind == kind and place.namespace == SERVING)


def lose_shared(world: World, kind: Kind) -> Callable[[], bool]:
    """Somebody deletes what the copies share of a kind; whether it is there again."""
    lost = shared(world, kind)
    assert lost
    for place in lost:
        world.store.delete(place, by="people")
    return lambda: shared(world, kind) == lost


@pytest.mark.parametrize("kind", [*NEEDED, JOB, REPLICA_SET], ids=lambda kind: kind.name)
def test_nothing_is_made_without_it_and_all_of_it_comes_once_it_is_allowed(tmp_path: Path, kind: Kind) -> None:
    async def scenario(world: World) -> None:
        refuse(world, kind)
        async with world.operator():
            world.deploy("chat", replicas=2)
            await world.until(lambda: stuck(world), "the refusal")
            assert told(world, "Serving") == ("False", "ApplyFailed")
            await world.still(lambda: stuck(world) and not world.workloads("chat"), "told, without copies", seconds=300)
            if kind == CONFIG_MAP:
                assert not shared(world, SECRET), "by a revision the Secret is found again when all of it goes"
            assert "ApplyFailed" in events(world)
            allow(world)
            await world.until(lambda: world.serves("chat", copies=2), "both copies", seconds=150)
            await world.until(lambda: told(world) == (None, None), "no more of it")
            world.remove("chat")
            await world.until(lambda: not world.children("chat"), "the end of all of it")
            assert not shared(world, SECRET)

    world_of(tmp_path, scenario)


@pytest.mark.parametrize("kind", [item for item in NEEDED if item != CONFIG_MAP], ids=lambda kind: kind.name)
def test_what_serves_goes_on_and_gets_fewer_and_a_lack_is_told_beside(tmp_path: Path, kind: Kind) -> None:
    async def scenario(world: World) -> None:
        async with world.operator():
            world.deploy("chat", replicas=3)
            await world.until(lambda: world.serves("chat", copies=3), "three copies")
            again = lose_shared(world, kind)
            refuse(world, kind)
            # The Secret is never read: it is written again after a while.
            await world.until(lambda: stuck(world), "the refusal", seconds=900)
            assert told(world, "Serving") == ("True", "Serving")
            assert "ApplyFailed" in events(world), "somebody is to look, though it serves"
            world.deploy("chat", replicas=2)
            await world.until(lambda: world.serves("chat", copies=2), "one copy less", seconds=300)
            world.deploy("chat", replicas=3)
            await world.still(lambda: stuck(world) and len(world.copies("chat")) == 2, "none is made", seconds=120)
            allow(world)
            await world.until(lambda: world.serves("chat", copies=3) and again(), "all of it", seconds=150)

    world_of(tmp_path, scenario)


def test_a_change_that_cannot_be_pinned_is_taken_back(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        async with world.operator():
            world.deploy("chat", replicas=2, rollout={"deadlineSeconds": DEADLINE})
            await world.until(lambda: world.serves("chat", copies=2), "the first copies")
            refuse(world, CONFIG_MAP)
            world.deploy("chat", engine={"contextLength": 1024})
            await world.until(lambda: stuck(world), "the refusal")
            world.store.delete(_place_of_a_pod(world), by="people")
            await world.until(lambda: len(world.endpoints("chat")) == 2, "the former copies are healed")
            await world.until(lambda: told(world)[1] == "RolledBack", "the way back", seconds=DEADLINE * 3)
            assert "RolledBack" in events(world)
            assert len(world.endpoints("chat")) == 2

    world_of(tmp_path, scenario)


def _place_of_a_pod(world: World) -> Place:
    return next(place for place in world.store.places() if place.kind == POD)
