"""The transport below httpx2's client: what is asked and answered is the same, and so are the errors."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator

import httpx2
import pytest
from aiohttp import web
from paddock_operator.adapters.transport import AiohttpTransport


class Server:
    """Echoes, streams, falls silent, or hangs up."""

    def __init__(self) -> None:
        self.headers: list[dict[str, str]] = []
        self.connections: set[int] = set()

    async def echo(self, request: web.Request) -> web.Response:
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        self.connections.add(id(request.transport))
        text = f"{request.method} {request.path_qs} {await request.text()}"
        return web.Response(status=409, text=text, headers={"Retry-After": "3"})

    async def lines(self, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        for line in (b"one\n", b"two\n"):
            await answer.write(line)
        if request.query.get("then") == "cut":
            assert request.transport is not None
            request.transport.abort()
        elif request.query.get("then") == "silence":
            await asyncio.sleep(3600)
        return answer


@contextlib.asynccontextmanager
async def reached(*, read: float = 20.0) -> AsyncIterator[tuple[httpx2.AsyncClient, Server]]:
    server, app = Server(), web.Application()
    app.router.add_get("/lines", server.lines)
    app.router.add_route("*", "/{tail:.*}", server.echo)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    transport = AiohttpTransport(ssl.create_default_context())
    timeout = httpx2.Timeout(20.0, read=read)
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", transport=transport, timeout=timeout) as client:
        yield client, server
    await runner.cleanup()


async def test_what_is_asked_arrives_and_what_is_answered_comes_back() -> None:
    async with reached() as (client, server):
        answer = await client.request("PATCH", "/a/b", params={"x": "1 2"}, content=b"{}", headers={"X-Own": "yes"})
        assert (answer.status_code, answer.text) == (409, "PATCH /a/b?x=1+2 {}")
        assert answer.headers["retry-after"] == "3"
        (told,) = server.headers
        assert told["x-own"] == "yes"
        assert told["user-agent"].startswith("python-httpx2")
        assert "accept-encoding" not in told, "the API server would compress what is read at once"


async def test_connections_are_kept() -> None:
    async with reached() as (client, server):
        for _ in range(3):
            await client.get("/x")
        assert len(server.connections) == 1


async def test_a_stream_comes_as_it_is_written() -> None:
    async with reached() as (client, _server), client.stream("GET", "/lines") as answer:
        assert b"".join([chunk async for chunk in answer.aiter_raw()]) == b"one\ntwo\n"


@pytest.mark.parametrize(
    ("then", "error"), [("cut", httpx2.RemoteProtocolError), ("silence", httpx2.ReadTimeout)], ids=["cut", "silence"]
)
async def test_a_stream_that_breaks_raises_what_the_client_would_have_raised(
    then: str, error: type[httpx2.TransportError]
) -> None:
    async with reached(read=0.3) as (client, _server), client.stream("GET", "/lines", params={"then": then}) as answer:
        with pytest.raises(error):
            async for _chunk in answer.aiter_raw():
                pass


async def test_nobody_there_is_a_connect_error() -> None:
    transport = AiohttpTransport(ssl.create_default_context())
    async with httpx2.AsyncClient(transport=transport) as client:
        with pytest.raises(httpx2.ConnectError):
            await client.get("http://127.0.0.1:9/")
