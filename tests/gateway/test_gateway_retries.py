"""When a request may be sent again: never if an engine can have begun it."""

from typing import Any

import openai
import pytest
from aiohttp import web

HELLO: list[Any] = [{"role": "user", "content": "hello"}]
PATH = "/v2/models/tensorrt_llm/generate_stream"


def crashing(seen: list[str], name: str) -> web.Application:
    """A Triton that takes the whole prompt and dies of it."""

    async def die(request: web.Request) -> web.Response:
        await request.read()
        seen.append(name)
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    app = web.Application()
    app.router.add_post(PATH, die)
    return app


async def test_a_prompt_that_crashes_the_engine_meets_one_replica_only(world: Any, play: Any) -> None:
    seen: list[str] = []
    urls = [await play.start(crashing(seen, name), world.runners) for name in ("a", "b", "c")]
    routing = world.kubernetes.objects["demo"]["status"]["routing"]["targets"][0]
    routing["endpoints"] = [{"pod": f"demo-{index}", "url": url} for index, url in enumerate(urls)]
    async with world.gateway():
        with pytest.raises(openai.InternalServerError) as caught:
            await world.client().chat.completions.create(model="demo", messages=HELLO, max_tokens=5)
        (row,) = await world.controlplane.settled()
    assert len(seen) == 1
    assert (caught.value.status_code, caught.value.code) == (502, "EngineError")
    assert (row["status"], row["input_tokens"], row["output_tokens"]) == ("engine_error", 0, 0)


async def test_a_dead_kept_connection_is_tried_again_once_and_at_the_same_triton(world: Any, play: Any) -> None:
    other: list[str] = []
    async with world.gateway() as app:
        await world.client().chat.completions.create(model="demo", messages=HELLO, max_tokens=1)
        routing = world.kubernetes.objects["demo"]["status"]["routing"]["targets"][0]
        kept = routing["endpoints"][0]
        url = ""
        while url <= kept["url"]:  # of endpoints that are equally busy the gateway takes the first by name
            url = await play.start(crashing(other, "other"), world.runners)
        routing["endpoints"] = [kept, {"pod": "demo-1", "url": url}]
        world.kubernetes.put(world.kubernetes.objects["demo"])
        await play.until(lambda: len(app._wiring.routes.by_name["acme-team/demo"].endpoints) == 2)
        world.triton.crash = True
        with pytest.raises(openai.InternalServerError) as caught:
            await world.client().chat.completions.create(model="demo", messages=HELLO, max_tokens=1)
        assert app._wiring.engine.in_flight == {}
    assert caught.value.code == "EngineError"
    assert (len(world.triton.bodies), other) == (3, [])
