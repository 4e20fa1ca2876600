"""A real gateway and the operator's own follower: a copy goes when its last request has ended, and not before."""

import asyncio
from functools import partial
from typing import Any

import msgspec
from paddock_core.resources.llamadeployment import LlamaDeployment
from paddock_operator.adapters.clock import SystemClock
from paddock_operator.decide.routable import routable
from paddock_operator.ports import Key
from paddock_operator.signals_book import SignalBook

from tests.gateway.following import UID, drain, operator

HELLO: list[Any] = [{"role": "user", "content": "hello"}]


async def test_a_copy_is_drained_when_its_last_request_has_ended_and_not_before(world: Any, play: Any) -> None:
    go = asyncio.Event()

    async def slowly(body: dict[str, Any], response: Any) -> None:
        await play.event(response, "one ", 1)
        await go.wait()
        await play.event(response, "two", 1, "stop")

    world.triton.play = slowly
    old = world.kubernetes.objects["demo"]["status"]["routing"]["targets"][0]["endpoints"][0]["url"]
    new = await world.another_triton(play.words)
    woken: list[Key] = []
    since = SystemClock().now()

    look = partial(drain, url=old, digest="second", since=since)
    async with world.gateway(), operator(world, woken) as book:
        request = asyncio.create_task(
            world.client().chat.completions.create(model="demo", messages=HELLO, max_tokens=5)
        )
        await play.until(lambda: len(world.triton.bodies) == 1)
        item = play.deployment(name="demo", digest=world.controlplane.digest, endpoints=[new])
        item["status"]["routing"]["digest"] = "second"
        assert not look(book).over
        world.kubernetes.put(item)
        await play.until(lambda: any(view.follows("second") for view in book.about(UID).views))
        assert look(book).note == "gateway-0 has 1 requests left there"
        await world.client().chat.completions.create(model="demo", messages=HELLO, max_tokens=5)
        assert not look(book).over
        woken.clear()
        go.set()
        assert (await request).choices[0].message.content == "one two"
        await play.until(lambda: look(book).over, 60.0)  # others might be there that could not answer yet
        assert look(book).note == ""
        assert Key("acme-team", "demo") in woken
    assert len(world.triton.bodies) == 1  # the second request went to the new copy


async def test_routable_follows_what_the_gateway_knows_and_one_that_stops_is_waited_for_by_nobody(
    world: Any, play: Any
) -> None:
    def found(book: SignalBook, item: dict[str, Any]) -> str:
        routing = msgspec.convert(item, LlamaDeployment).status.routing
        finding = routable(routing=routing, gateways=book.about(UID))
        return "" if finding is None else finding.reason

    first = world.kubernetes.objects["demo"]
    async with operator(world, []) as book:
        assert found(book, first) == "GatewayUnreachable"
        async with world.gateway():
            await play.until(lambda: found(book, first) == "Routable", 30)
            item = play.deployment(name="demo", digest=world.controlplane.digest, endpoints=["http://127.0.0.1:9"])
            item["status"]["routing"]["digest"] = "second"
            assert found(book, item) == "GatewayBehind"
            world.kubernetes.put(item)
            await play.until(lambda: found(book, item) == "Routable")
        await play.until(lambda: book.about(UID).views == ())
        assert found(book, item) == "GatewayUnreachable"
