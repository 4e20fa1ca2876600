"""Streams are cut, objects go, history is compacted: the watches cannot go on from where they were."""

import asyncio

from paddock_core.resources import names
from paddock_operator.kinds import CONFIG_MAP, POD, REPLICA_SET

from faults.cluster.outcome import Outcome
from faults.cluster.simulated.life import Life
from faults.cluster.simulated.world import World, world_of
from faults.cluster.stage import Stage

ROW = 4
WHAT = "410 Gone: streams cut, {size} objects deleted by others in the gap, history compacted"
PASS = "every cache equals the server within 5 s of its new list"
SHORT, FULL = 20, 20
GAP_SECONDS = 8.0
LIMIT_SECONDS = 5.0


def play(stage: Stage, size: int) -> Outcome:
    """ReplicaSets, ConfigMaps and pods of deployments that serve are deleted while the operator is cut off."""

    async def scenario(world: World) -> Outcome:
        copies = [f"d{number}" for number in range(7)]
        for name in copies:
            world.deploy(name)
        async with world.operator() as life:
            for name in copies:
                await world.until(lambda: world.serves(name), name, seconds=600)
            world.api.weather.down = True
            world.api.cut()
            await asyncio.sleep(GAP_SECONDS)
            places = [place for place in world.store.places() if place.kind in (CONFIG_MAP, POD, REPLICA_SET)]
            gone = stage.random("gone").sample(sorted(places, key=str), size)
            for place in gone:
                if world.store.get(place) is not None:
                    world.store.remove(place, by="others")
            world.store.compact()
            world.api.weather.down = False
            latest = await caught_up(world, life)
            for name in copies:
                await world.until(lambda: world.serves(name), name, seconds=600)
        gones = f"{len(gone)} objects gone: a cache equals the server {latest:.1f} s after its list at most"
        bad = world.errors
        return Outcome(
            measured=gones + "".join(f"; {item}" for item in bad[:3]), passed=latest <= LIMIT_SECONDS and not bad
        )

    return world_of(stage.empty("gone"), scenario)


async def caught_up(world: World, life: Life) -> float:
    """How long after its list the last cache was as the server is."""
    begun, latest = world.clock.boottime(), 0.0
    assert life.operator is not None
    for reflector in life.operator.cache.reflectors():
        kind = reflector.kind
        if not reflector.served:
            continue
        await world.until(lambda: is_equal(world, reflector), f"the cache of {kind.plural}", seconds=120)
        lists = [
            call.at for call in world.api.calls if call.path == kind.path() and call.code == 200 and call.at >= begun
        ]
        latest = max(latest, world.clock.boottime() - min(lists, default=begun))
    return latest


def is_equal(world: World, reflector: object) -> bool:
    """Whether a cache holds what the server has, by name and revision."""
    kind, cached = reflector.kind, list(reflector.all())  # type: ignore[attr-defined]
    live = world.store.all(kind)
    if kind.namespaced or kind.name == "Namespace":
        mine = {names.MANAGED_BY: names.OPERATOR}.items()
        live = [item for item in live if mine <= (item["metadata"].get("labels") or {}).items()]
    elif kind.name == "Node":
        live = [item for item in live if "nvidia.com/gpu.product" in (item["metadata"].get("labels") or {})]
    return _versions(cached) == _versions(live)


def _versions(manifests: list[dict[str, object]]) -> set[object]:
    return {
        (item["metadata"].get("namespace"), item["metadata"]["name"], item["metadata"]["resourceVersion"])
        for item in manifests
    }  # type: ignore[attr-defined, index]
