"""The operator's own way to pods fails, while gateways reach them as ever: nothing that serves is lost by that."""

import asyncio
from pathlib import Path
from typing import Any

import httpx2
from paddock_operator.decide.answers import DOUBT_SECONDS
from paddock_operator.kinds import POD

from faults.cluster.simulated.store import Place
from faults.cluster.simulated.world import World, world_of

MANY = [f"m{number}" for number in range(5)]
COPIES = 2
DROPPED_SECONDS = 180.0
"""Longer than a pod that fails alone goes on as an endpoint."""


async def all_serve(world: World) -> None:
    for name in MANY:
        await world.until(lambda name=name: world.serves(name, copies=COPIES), name)


def least(world: World) -> int:
    """Endpoints of the deployment that has fewest."""
    return min(len(world.endpoints(name)) for name in MANY)


def deploy_all(world: World) -> None:
    for name in MANY:
        world.deploy(name, replicas=COPIES)


def play(scenario: Any, folder: Path) -> None:
    world_of(folder, scenario)


def test_one_missed_probe_at_a_takeover_takes_no_endpoint_away(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        world.deploy("chat", replicas=COPIES)
        missed = set[str]()
        first = world.begin("first")
        await world.until(lambda: world.serves("chat", copies=COPIES), "chat")
        await first.stop()

        def once(client: str, host: str) -> bool:
            new = client == "second" and host not in missed
            missed.add(host)
            return new

        world.api.weather.no_way = once
        async with world.operator("second"):
            await world.still(lambda: len(world.endpoints("chat")) == COPIES, "both", seconds=DROPPED_SECONDS)
            assert len(missed) == COPIES
        assert not world.errors

    play(scenario, tmp_path)


def test_a_new_leader_that_reaches_no_pod_leaves_the_routing_as_it_is(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        deploy_all(world)
        first = world.begin("first")
        await all_serve(world)
        await first.kill()
        world.api.weather.no_way = lambda client, _host: client == "second"
        async with world.operator("second"):
            await world.still(lambda: least(world) == COPIES, "all endpoints", seconds=DROPPED_SECONDS)
            assert "its own way to pods is doubted" in world.condition("m0", "Serving")["message"]
            # A pod that itself is gone leaves all the same, and the one in its place serves once it was asked.
            pod = world.copies("m0")[0]
            world.store.delete(Place(POD, pod["metadata"]["namespace"], pod["metadata"]["name"]), by="people")
            await world.until(lambda: len(world.endpoints("m0")) == COPIES - 1, "the routing without it", seconds=10)
            world.api.weather.no_way = lambda _client, _host: False
            await all_serve(world)
            await world.until(lambda: "doubted" not in world.condition("m0", "Serving")["message"], "the end of it")
        assert not world.errors

    play(scenario, tmp_path)


def test_a_way_that_is_cut_for_a_while_takes_no_endpoint_away(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        deploy_all(world)
        async with world.operator() as life:
            await all_serve(world)
            world.api.weather.no_way = lambda _client, _host: True
            await world.still(lambda: least(world) == COPIES, "all endpoints", seconds=DOUBT_SECONDS)
            assert life.operator is not None
            assert life.operator.probes.doubted == len(MANY) * COPIES
            world.api.weather.no_way = lambda _client, _host: False
            await world.still(lambda: least(world) == COPIES, "all endpoints", seconds=DROPPED_SECONDS)
            assert life.operator.probes.doubted == 0
        assert not world.errors

    play(scenario, tmp_path)


def test_half_or_fewer_that_hang_are_dropped(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        deploy_all(world)
        async with world.operator():
            await all_serve(world)
            hosts = {httpx2.URL(url).host for name in MANY[:2] for url in world.endpoints(name)}
            world.api.weather.engine_hangs = hosts.__contains__
            await world.until(lambda: least(world) == 0, "they are dropped", seconds=DROPPED_SECONDS)
            await asyncio.sleep(DROPPED_SECONDS)
            assert [len(world.endpoints(name)) for name in MANY] == [0, 0, COPIES, COPIES, COPIES]
            assert world.condition("m0", "Serving")["reason"] == "ProbeFailed"
        assert not world.errors

    play(scenario, tmp_path)
