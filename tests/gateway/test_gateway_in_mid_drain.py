"""A copy is drained while a gateway is paused, killed or only starting: nothing is cut that could have been kept."""

import asyncio
import signal
from functools import partial
from typing import Any

import httpx
import openai
import pytest
from paddock_operator.ports import Key

from tests.gateway.following import LIMIT_SECONDS, UID, Ahead, drain, operator
from tests.gateway.processes import start

HELLO: list[Any] = [{"role": "user", "content": "hello"}]


class Scene:
    """A copy that says one word, and the rest when `go` is set; another one that is to take its place."""

    def __init__(self, world: Any, play: Any, new: str) -> None:
        self.world, self.play, self.new = world, play, new
        self.go = asyncio.Event()
        self.clock = Ahead()
        self.old: str = world.kubernetes.objects["demo"]["status"]["routing"]["targets"][0]["endpoints"][0]["url"]
        world.triton.play = self._slowly

    async def _slowly(self, body: dict[str, Any], response: Any) -> None:
        await self.play.event(response, "one ", 1)
        await self.go.wait()
        await self.play.event(response, "two", 1, "stop")

    async def known(self, book: Any, digest: str, *, gateways: int = 1) -> None:
        """Until so many gateways follow a routing."""
        await self.play.until(lambda: sum(view.follows(digest) for view in book.about(UID).views) == gateways, 60)

    async def settle(self, book: Any, *, gateways: int = 1) -> None:
        """Until the operator leads for long enough to believe that it knows every gateway."""
        await self.known(book, "first", gateways=gateways)
        self.clock.seconds += 20.0
        await self.play.until(lambda: len(book.about(UID).fresh) == gateways, 60)

    def in_flight(self, book: Any, gateway: str) -> int:
        """What a gateway itself runs."""
        signals = {view.instance: view.signal for view in book.about(UID).views}
        return -1 if signals.get(gateway) is None else signals[gateway].in_flight

    def leave(self) -> Any:
        """The old copy leaves the routing; gives what says whether it may be deleted."""
        item = self.play.deployment(name="demo", digest=self.world.controlplane.digest, endpoints=[self.new])
        item["status"]["routing"] |= {"digest": "second", "leaving": [self.old]}
        self.world.kubernetes.put(item)
        return partial(drain, url=self.old, digest="second", since=self.clock.now(), clock=self.clock)

    async def stream(self, *, port: int = 0) -> Any:
        """A stream whose first word has come."""
        client = self.world.client()
        asked = client.with_options(base_url=f"http://127.0.0.1:{port}/v1") if port else client
        stream = await asked.chat.completions.create(model="demo", messages=HELLO, max_tokens=99, stream=True)
        assert (await anext(aiter(stream))).choices[0].delta.role == "assistant"
        return stream

    async def rest(self, stream: Any) -> str:
        """The text of a stream to its end."""
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])


@pytest.fixture
async def scene(world: Any, play: Any) -> Scene:
    return Scene(world, play, await world.another_triton(play.words))


async def stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.send_signal(signal.SIGCONT)
        process.send_signal(signal.SIGTERM)
    await process.wait()


async def test_a_gateway_that_is_paused_in_mid_drain_is_waited_for_and_its_stream_ends_whole(
    world: Any, scene: Scene, play: Any
) -> None:
    process = await start(world)
    try:
        async with operator(world, [], clock=scene.clock) as book:
            await scene.settle(book)
            stream = await scene.stream()
            process.send_signal(signal.SIGSTOP)
            look = scene.leave()
            await asyncio.sleep(0.5)  # it cannot confirm anything, however long this is
            assert look(book).note.startswith("gateway-0 has not ")
            scene.clock.seconds += LIMIT_SECONDS - 60
            assert not look(book).over
            scene.clock.seconds += 60
            assert look(book).over
            assert look(book).note.startswith("not waited for any longer: gateway-0 has not ")
            scene.clock.seconds -= LIMIT_SECONDS
            process.send_signal(signal.SIGCONT)
            await scene.known(book, "second")
            assert look(book).note == "gateway-0 has 1 requests left there"
            scene.go.set()
            assert await scene.rest(stream) == "one two"
            await play.until(lambda: look(book).over, 60)
            assert look(book).note == ""
        (row,) = await world.controlplane.settled()
        assert (row["status"], row["output_tokens"]) == ("ok", 2)
    finally:
        await stop(process)


async def test_of_two_gateways_one_is_killed_in_mid_drain_and_no_count_and_no_stream_is_lost(
    world: Any, scene: Scene, play: Any
) -> None:
    """The copy stays for the other's stream, then for the engine's count of what was cut, and goes after that."""
    ports = {name: play.free_port() for name in ("PORT", "METRICS_PORT", "INTERNAL_PORT")}
    second = {f"PADDOCK_GATEWAY_{name}": str(port) for name, port in ports.items()}
    second |= {"PADDOCK_GATEWAY_INSTANCE": "gateway-1", "PADDOCK_GATEWAY_CACHE_DIR": str(world.folder / "cache-1")}
    first, other = await asyncio.gather(start(world), start(world, **second))
    again: asyncio.subprocess.Process | None = None
    try:
        both = (world.settings.internal_port, ports["INTERNAL_PORT"])
        async with operator(world, [], ports=both, clock=scene.clock) as book:
            await scene.settle(book, gateways=2)
            cut, kept = await scene.stream(), await scene.stream(port=ports["PORT"])
            look = scene.leave()
            await scene.known(book, "second", gateways=2)
            first.kill()
            await first.wait()
            with pytest.raises((openai.APIError, httpx.HTTPError)):
                await scene.rest(cut)
            assert "gateway-1 has 1 requests left there" in look(book).note
            scene.go.set()
            assert await scene.rest(kept) == "one two"
            await play.until(lambda: "gateway-1" not in look(book).note, 60)
            assert look(book).note.startswith("gateway-0 has 1 requests left there")
            (row,) = await world.controlplane.settled()
            assert (row["status"], row["gateway_instance"]) == ("ok", "gateway-1")
            world.triton.totals = 47
            world.triton.may_tell.clear()
            again = await start(world, PADDOCK_GATEWAY_REAP_SECONDS="120")
            await play.until(lambda: bool(world.triton.asked), 60)
            await play.until(lambda: scene.in_flight(book, "gateway-0") == 0, 60)  # told by the new process
            assert look(book).note == "gateway-0 has 1 requests left there"
            world.triton.may_tell.set()
            await play.until(lambda: look(book).over, 60)
            assert look(book).note == ""
        rows = {row["gateway_instance"]: row for row in await world.controlplane.settled(2)}
        lost = rows["gateway-0"]
        assert (lost["status"], lost["output_tokens"], lost["usage_source"]) == ("gateway_lost", 47, "counted")
    finally:
        for process in (first, other, again):
            if process is not None:
                await stop(process)
    assert len(world.controlplane.records) == 2


async def ready(world: Any, port: int = 0) -> tuple[int, list[str]]:
    async with httpx.AsyncClient() as http:
        answer = await http.get(f"http://127.0.0.1:{port or world.settings.port}/readyz")
    return answer.status_code, answer.json()["missing"]


async def becomes_ready(world: Any, port: int = 0) -> None:
    async with asyncio.timeout(60):
        while (await ready(world, port))[0] != 200:  # noqa: ASYNC110 - the port says it alone
            await asyncio.sleep(0.05)


async def test_a_gateway_is_not_ready_before_the_operator_knows_it_so_no_drain_ends_over_its_requests(
    world: Any, scene: Scene, play: Any
) -> None:
    """A drain that ends while a gateway is unknown asks nothing of it: so no client is sent there."""
    ports = {name: play.free_port() for name in ("port", "metrics_port", "internal_port")}
    woken: list[Key] = []
    async with world.gateway(), world.gateway(instance="gateway-1", operator_wait_seconds=3600.0, **ports):
        async with operator(world, woken, clock=scene.clock) as book:
            await scene.settle(book)
            look = scene.leave()
            await play.until(lambda: look(book).over, 60)
            assert (await ready(world))[0] == 200
            assert await ready(world, ports["port"]) == (503, ["the operator has not asked this gateway yet"])
        both = (world.settings.internal_port, ports["internal_port"])
        async with operator(world, woken, ports=both, clock=scene.clock) as book:
            await becomes_ready(world, ports["port"])
            assert {view.instance for view in book.about(UID).views} == {"gateway-0", "gateway-1"}


async def test_where_no_operator_asks_a_gateway_is_ready_when_that_was_waited_for(world: Any) -> None:
    async with world.gateway(operator_wait_seconds=0.5):
        await becomes_ready(world)
