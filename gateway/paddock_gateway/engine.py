"""The Triton client of the hot path: HTTP/1.1 with kept connections and server-sent events, and nothing else.

Written by hand on httptools because it is the most frequent work in the process: a general client costs several times
the CPU of everything else that a request needs (docs/adr/0006-gateway.md has the figures). Closing the connection is
how a request is cancelled: Triton passes that on to a leaf model.
"""

import asyncio
from collections import deque
from typing import Any
from urllib.parse import urlsplit

import httptools
import msgspec
from paddock_core.serving.contract import MODEL_NAME, SECRET_HEADER

from paddock_gateway.engine_events import Chunk, read_event
from paddock_gateway.errors import EngineError, EngineRefusedError, EngineUnreachableError, StaleConnectionError

_PATH = f"/v2/models/{MODEL_NAME}/generate_stream"
_QUEUE_LIMIT = 256
"""Events that may wait for a slow client before reading from Triton stops."""
_IDLE_LIMIT = 256
_MAX_EVENT = 1024 * 1024
_SEPARATOR = b"\n\n"
_DATA = b"data:"


_error_decoder = msgspec.json.Decoder(dict[str, Any])


class Connection(asyncio.Protocol):
    """One connection to one Triton; carries one request at a time."""

    def __init__(self, engine: "Engine", url: str) -> None:
        self._engine = engine
        self.url = url
        self.transport: asyncio.Transport | None = None
        self._reused = False
        self._loop = asyncio.get_running_loop()
        self._begin()

    def _begin(self) -> None:
        self._bodies: list[bytes] = []
        self.on_body = self._bodies.append  # the parser calls it for every piece: as little as can be
        self._parser = httptools.HttpResponseParser(self)
        self._rest = b""
        self._chunks: deque[Chunk] = deque()
        self._status = 0
        self._keep = False
        self._waiter: asyncio.Future[None] | None = None
        self._complete = False
        self._failure: EngineError | None = None
        self._busy = False
        self._paused = False
        self._heard = False

    @property
    def usable(self) -> bool:
        """False once the connection is known to be closed."""
        return self.transport is not None and not self.transport.is_closing()

    def send(self, head: bytes, body: bytes, *, reused: bool) -> None:
        """Begin a request on this connection. Raises EngineUnreachableError if it closed before anything was sent."""
        self._begin()
        if self.transport is None or self.transport.is_closing():
            raise EngineUnreachableError("the connection to Triton was closed")
        self._busy = True
        self._reused = reused
        self.transport.write(head + body)

    async def read(self) -> list[Chunk] | None:
        """What has arrived, at least one chunk, or None after the last. Raises EngineError."""
        while not self._chunks:
            if self._failure is not None:
                raise self._failure
            if self._complete:
                self._finish()
                return None
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        chunks = list(self._chunks)
        self._chunks.clear()
        if self._paused and self.transport is not None:
            self._paused = False
            self.transport.resume_reading()
        return chunks

    def abort(self) -> None:
        """Give the request up and drop the connection: Triton cancels it. Only for whoever holds the request."""
        self._fail(EngineError("the request was cancelled"))
        self._finish()

    def drop(self) -> None:
        """Close a connection that carries no request."""
        if self.transport is not None:
            self.transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        if not self._busy:
            self.drop()
            return
        self._heard = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(EngineError(f"Triton's answer is not HTTP: {error}"))
        if self._bodies:
            self._read_events()
        if self._complete and self._status != 200:
            self._fail(_refusal(self._status, self._rest))
        if len(self._chunks) > _QUEUE_LIMIT and not self._paused and self.transport is not None:
            self._paused = True
            self.transport.pause_reading()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._engine.forget(self)
        if self._busy and not self._complete:
            message = "Triton broke the connection off" + (f": {exc}" if exc else "")
            # On a connection of its own the engine may have begun, and the prompt itself may be what ended it: a
            # second try would take the next replica down as well.
            stale = self._reused and not self._heard
            self._fail(StaleConnectionError(message, url=self.url) if stale else EngineError(message))
        self._wake()

    # httptools callbacks

    def on_headers_complete(self) -> None:
        self._status = self._parser.get_status_code()
        self._keep = self._parser.should_keep_alive()  # not to be asked once the message is complete

    def on_message_complete(self) -> None:
        self._complete = True

    # inside

    def _read_events(self) -> None:
        data = self._rest + b"".join(self._bodies)
        self._bodies.clear()
        if self._status != 200:
            self._rest = data[:_MAX_EVENT]
            return
        events = data.split(_SEPARATOR)
        self._rest = events.pop()
        if len(self._rest) > _MAX_EVENT:
            self._fail(EngineError("Triton sent an event without end"))
            return
        for event in events:
            if event.startswith(_DATA):
                self._take(event[5:])

    def _take(self, event: bytes) -> None:
        try:
            chunk = read_event(event)
        except msgspec.DecodeError as error:
            self._fail(EngineError(f"Triton sent an event that cannot be read: {error}"))
            return
        if chunk.error is not None:
            self._fail(EngineError(f"the engine failed: {chunk.error[:500]}"))
        else:
            self._chunks.append(chunk)

    def _fail(self, error: EngineError) -> None:
        if self._failure is None:
            self._failure = error
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _finish(self) -> None:
        """The request is over: keep the connection if it may carry another."""
        if not self._busy:
            return
        self._busy = False
        clean = self._complete and self._failure is None and self._keep
        self._engine.release(self, keep=clean)


class Engine:
    """Connections to every Triton, by base URL."""

    def __init__(self, *, connect_timeout: float) -> None:
        self._timeout = connect_timeout
        self._idle: dict[str, list[Connection]] = {}
        self._routed: frozenset[str] | None = None
        self.in_flight: dict[str, int] = {}
        """Requests by base URL, from before the connection is made."""
        self._claims: dict[tuple[str, ...], int] = {}
        self.doubted = 0
        """Requests of which an engine reported a count that cannot be."""

    async def generate(
        self, *, endpoints: tuple[str, ...], secret: str, body: bytes, traceparent: str = "", fresh: bool = False
    ) -> Connection:
        """Begin a request at the least busy endpoint that takes a connection; `fresh` uses no kept one.

        `traceparent` is sent along unless it is empty.
        Raises EngineUnreachableError if none does. Reading from a kept connection may raise StaleConnectionError.
        """
        failure = EngineUnreachableError("the deployment has no endpoint")
        for url in sorted(endpoints, key=lambda item: self.in_flight.get(item, 0)):
            try:
                return await self._start(url, secret, body, traceparent, fresh=fresh)
            except EngineUnreachableError as error:
                failure = error
        raise failure

    def claim(self, endpoints: tuple[str, ...]) -> None:
        """A request will be sent to one of these: until `unclaim` it counts at each of them."""
        self._claims[endpoints] = self._claims.get(endpoints, 0) + 1

    def unclaim(self, endpoints: tuple[str, ...]) -> None:
        """It was sent, or never will be."""
        left = self._claims[endpoints] - 1
        if left:
            self._claims[endpoints] = left
        else:
            del self._claims[endpoints]

    def requests_at(self, url: str) -> int:
        """Requests that are at a base URL, or may still be sent there."""
        return self.in_flight.get(url, 0) + sum(count for urls, count in self._claims.items() if url in urls)

    def release(self, connection: Connection, *, keep: bool) -> None:
        """A request on this connection is over."""
        self._count_down(connection.url)
        routed = self._routed is None or connection.url in self._routed
        if keep and routed and len(self._idle.get(connection.url, ())) < _IDLE_LIMIT:
            self._idle.setdefault(connection.url, []).append(connection)
        else:
            connection.drop()

    def forget(self, connection: Connection) -> None:
        """A connection was closed."""
        idle = self._idle.get(connection.url)
        if idle is not None and connection in idle:
            idle.remove(connection)
            if not idle:
                del self._idle[connection.url]

    def keep_only(self, urls: frozenset[str]) -> None:
        """Only connections to these endpoints are worth keeping: a Triton that stops waits for every open one."""
        self._routed = urls
        for url in set(self._idle) - urls:
            for connection in list(self._idle[url]):
                connection.drop()

    def close(self) -> None:
        """Drop every idle connection."""
        for idle in list(self._idle.values()):
            for connection in list(idle):
                connection.drop()

    async def _start(self, url: str, secret: str, body: bytes, traceparent: str, *, fresh: bool) -> Connection:
        host = urlsplit(url).netloc
        trace = f"traceparent: {traceparent}\r\n" if traceparent else ""
        head = (
            f"POST {_PATH} HTTP/1.1\r\nhost: {host}\r\n{SECRET_HEADER}: {secret}\r\n"
            f"{trace}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        ).encode()
        self.in_flight[url] = self.in_flight.get(url, 0) + 1
        try:
            kept = None if fresh else self._kept(url)
            connection = kept or await self._connect(url)
            connection.send(head, body, reused=kept is not None)
        except BaseException:
            self._count_down(url)
            raise
        return connection

    def _count_down(self, url: str) -> None:
        left = self.in_flight.get(url, 1) - 1
        if left > 0:
            self.in_flight[url] = left
        else:
            self.in_flight.pop(url, None)

    def _kept(self, url: str) -> Connection | None:
        """An idle connection that is open as far as we know."""
        idle = self._idle.get(url, [])
        while idle:
            if (connection := idle.pop()).usable:
                return connection
        return None

    async def _connect(self, url: str) -> Connection:
        parts = urlsplit(url)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout):
                _, connection = await loop.create_connection(
                    lambda: Connection(self, url), parts.hostname or "", parts.port or 80
                )
        except (OSError, TimeoutError) as error:
            raise EngineUnreachableError(f"Triton at {url} cannot be reached: {error or 'timed out'}") from error
        return connection


def _refusal(status: int, body: bytes) -> EngineError:
    try:
        detail = str(_error_decoder.decode(body).get("error", ""))
    except msgspec.DecodeError:
        detail = body[:200].decode("utf-8", "replace")
    return EngineRefusedError(f"Triton answered {status}: {detail[:500]}")
