"""Who plays with the operator in `bench/scale.py`: Triton on all addresses, a gateway's signals, a follower."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from ipaddress import IPv4Network
from typing import Any

import msgspec
from aiohttp import web
from paddock_core import signals
from paddock_core.serving import contract
from paddock_operator.adapters.cluster import LightkubeCluster
from paddock_operator.errors import ClusterError
from paddock_operator.kinds import Kind

TOKEN = json.dumps({contract.TEXT_OUTPUT: " there", contract.NUM_INPUT_TOKENS: 1, contract.NUM_OUTPUT_TOKENS: 1})


class _Triton(asyncio.Protocol):
    """One token for whoever asks, whole or as an event. One request a connection, as the probe asks."""

    def __init__(self) -> None:
        self._heard = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._heard += data
        head, separator, body = self._heard.partition(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        length = next((int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:")), 0)
        if not separator or len(body) < length or self._transport is None:
            return
        streams = b"generate_stream" in lines[0]
        text = f"data: {TOKEN}\n\n" if streams else TOKEN
        kind = "text/event-stream" if streams else "application/json"
        answer = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {len(text)}\r\nconnection: close\r\n\r\n"
        self._transport.write((answer + text).encode())
        self._transport.close()


@contextlib.asynccontextmanager
async def tritons(subnet: IPv4Network, *, count: int) -> AsyncIterator[None]:
    """Triton on the first addresses of a subnet, until the block ends."""
    loop = asyncio.get_running_loop()
    async with contextlib.AsyncExitStack() as servers:
        for number in range(1, count + 1):
            address = str(subnet.network_address + number)
            servers.push_async_callback(_closed, await loop.create_server(_Triton, address, contract.HTTP_PORT))
        yield


async def _closed(server: asyncio.Server) -> None:
    server.close()


class Follower:
    """Follows one kind and keeps the newest form of each object; `heard` is told of each change."""

    def __init__(self, cluster: LightkubeCluster, kind: Kind, *, selector: str = "") -> None:
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.heard: Callable[[dict[str, Any], bool], None] = lambda _object, _gone: None
        self._cluster = cluster
        self._kind = kind
        self._selector = selector

    async def run(self) -> None:
        """Never returns."""
        while True:
            with contextlib.suppress(ClusterError):
                listing = await self._cluster.list(self._kind, selector=self._selector)
                found = {_place(item): item for item in listing.items}
                for place in set(self.objects) - set(found):
                    self._note(self.objects[place], gone=True)
                for item in found.values():
                    self._note(item)
                revision = listing.revision
                while True:
                    async for event in self._cluster.watch(self._kind, selector=self._selector, revision=revision):
                        revision = event.object["metadata"]["resourceVersion"]
                        if event.type != "BOOKMARK":
                            self._note(event.object, gone=event.type == "DELETED")

    def _note(self, item: dict[str, Any], *, gone: bool = False) -> None:
        if gone:
            self.objects.pop(_place(item), None)
        else:
            self.objects[_place(item)] = item
        self.heard(item, gone)


def _place(item: dict[str, Any]) -> tuple[str, str]:
    return str(item["metadata"].get("namespace", "")), str(item["metadata"]["name"])


class Gateway:
    """A gateway's signals and no more: it confirms each routing as soon as it hears of it, and has no requests."""

    def __init__(self) -> None:
        self._started = time.time()
        self._known: dict[str, tuple[int, signals.DeploymentSignal]] = {}
        self._cursor = 0
        self._changed = asyncio.Event()

    def hear(self, document: dict[str, Any], gone: bool) -> None:  # noqa: FBT001 - as followers tell
        """A LlamaDeployment changed."""
        metadata, routing = document["metadata"], document.get("status", {}).get("routing") or {}
        name, digest = f"{metadata['namespace']}/{metadata['name']}", "" if gone else str(routing.get("digest", ""))
        known = self._known.get(name)
        if known is not None and (known[1].routing, known[1].uid) == (digest, metadata["uid"]):
            return
        self._cursor += 1
        self._known[name] = (self._cursor, signals.DeploymentSignal(name=name, uid=metadata["uid"], routing=digest))
        heard, self._changed = self._changed, asyncio.Event()
        heard.set()

    async def signals(self, request: web.Request) -> web.Response:
        """The long poll."""
        after = int(request.query.get("after", 0))
        if self._cursor <= after:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), float(request.query.get("wait", 0)))
        told = tuple(signal for at, signal in self._known.values() if at > after)
        report = signals.GatewayReport(
            instance="bench", started_at=self._started, cursor=self._cursor, synced=True, whole=after == 0,
            deployments=told,
        )  # fmt: skip
        return web.Response(body=msgspec.json.encode(report), content_type="application/json")


@contextlib.asynccontextmanager
async def serving(gateway: Gateway, *, port: int) -> AsyncIterator[None]:
    """Answer on this port until the block ends."""
    app = web.Application()
    app.router.add_get(signals.PATH, gateway.signals)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield
    finally:
        await runner.cleanup()
