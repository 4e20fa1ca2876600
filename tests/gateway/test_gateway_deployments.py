"""The routes: kept while the API server is away, right again after it, and no object can break another."""

import asyncio
from typing import Any

HELLO: list[Any] = [{"role": "user", "content": "hello"}]


async def ask(world: Any, model: str = "acme-team/demo") -> Any:
    return await world.client().chat.completions.create(model=model, messages=HELLO, max_tokens=2)


async def test_routes_stay_while_the_api_server_is_away_and_follow_it_again(world: Any, play: Any) -> None:
    async with world.gateway() as app:
        await ask(world)
        world.kubernetes.down = True
        world.kubernetes.break_watches()
        await asyncio.sleep(0.3)
        await ask(world)
        url = world.kubernetes.objects["demo"]["status"]["routing"]["targets"][0]["endpoints"][0]["url"]
        world.kubernetes.objects = {
            "later": play.deployment(name="later", digest=world.controlplane.digest, endpoints=[url])
        }
        world.kubernetes.version += 100
        world.kubernetes.down = False
        routes = app._wiring.routes.by_name
        await play.until(lambda: set(routes) == {"acme-team/later"}, 20)
    assert world.kubernetes.lists >= 2


async def test_a_history_that_was_compacted_leads_to_a_new_list(world: Any, play: Any) -> None:
    gone = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Expired", "code": 410}
    async with world.gateway() as app:
        await play.until(lambda: len(world.kubernetes.watchers) == 1)
        world.kubernetes.objects.clear()
        world.kubernetes.version += 100
        world.kubernetes.break_watches(gone)
        await play.until(lambda: not app._wiring.routes.by_name, 20)
    assert world.kubernetes.lists >= 2


async def test_an_object_that_cannot_be_read_leaves_the_others_alone(world: Any, play: Any) -> None:
    broken = play.deployment(name="broken", digest=world.controlplane.digest, endpoints=[])
    broken["spec"] = {"model": 7}
    world.kubernetes.objects["broken"] = broken
    async with world.gateway() as app:
        await ask(world)
        assert set(app._wiring.routes.by_name) == {"acme-team/demo"}


async def test_idle_connections_to_endpoints_that_went_are_dropped(world: Any, play: Any) -> None:
    async with world.gateway() as app:
        await ask(world)
        engine = app._wiring.engine
        assert engine._idle
        world.kubernetes.put(play.deployment(name="demo", digest=world.controlplane.digest, endpoints=[]))
        await play.until(lambda: not engine._idle)
