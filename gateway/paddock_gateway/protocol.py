"""uvicorn with bounds: on a request's head (its size, and the time a client may take to send it), on connections."""

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_LINES = {
    408: b"HTTP/1.1 408 Request Timeout\r\n",
    431: b"HTTP/1.1 431 Request Header Fields Too Large\r\n",
}


class Server(uvicorn.Server):
    """uvicorn without its own signal handling: what comes after the last request is ours to finish. It does nothing
    between its start and `leave`, where uvicorn looks ten times a second whether it should end and writes the date."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._leaving = asyncio.Event()

    def leave(self) -> None:
        """Take no new connections, let requests end, and end."""
        self.should_exit = True
        self._leaving.set()

    async def main_loop(self) -> None:
        await self.on_tick(0)  # makes the headers that every answer has
        await self._leaving.wait()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class BoundedProtocol(HttpToolsProtocol):
    """Bounds are attributes of the subclass that `bounded` makes."""

    max_head_bytes: int
    head_seconds: float
    most_connections: int

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        self._in_head = True
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        if len(self.connections) > self.most_connections:
            self.transport.close()
        else:
            self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes and not self.transport.is_closing():
            if self._head_bytes > self.max_head_bytes:
                self._refuse(431, "headers_too_large", f"request headers are larger than {self.max_head_bytes} bytes")
            elif self._head_timer is None:
                self._watch_head()

    def on_message_begin(self) -> None:
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._unwatch_head()
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        self._head_bytes = 0
        if size > self.max_head_bytes:
            self._refuse(431, "headers_too_large", f"request headers are larger than {self.max_head_bytes} bytes")
            return
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_head = True
        if not self.transport.is_closing():
            super().on_message_complete()

    def _watch_head(self) -> None:
        self._head_timer = self.loop.call_later(self.head_seconds, self._head_late)

    def _unwatch_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_late(self) -> None:
        if not self.transport.is_closing():
            self._refuse(408, "request_timeout", f"the request's headers did not come within {self.head_seconds:g} s")

    def _refuse(self, status: int, code: str, message: str) -> None:
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
        body = msgspec.json.encode({"error": error})
        head = b"content-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body)
        self.transport.write(_LINES[status] + head + body)
        self.transport.close()


def bounded(*, max_head_bytes: int, head_seconds: float, most_connections: int = sys.maxsize) -> type[BoundedProtocol]:
    """A protocol class with these bounds, as uvicorn wants it. One connection too many is closed at once."""
    attributes: dict[str, Any] = {
        "max_head_bytes": max_head_bytes,
        "head_seconds": head_seconds,
        "most_connections": most_connections,
    }
    return type("Bounded", (BoundedProtocol,), attributes)


def server_of(
    app: Callable[..., Any],
    *,
    protocol: type[BoundedProtocol],
    keep_alive_seconds: int,
    stop_seconds: int,
    host: str = "127.0.0.1",
    port: int = 0,
    backlog: int = 2048,
) -> Server:
    """A server of one of the gateway's ports: it says nothing of itself, and writes no log of its own. Where it is
    given a listening socket, address and backlog are that one's."""
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=protocol,
        ws="none",
        proxy_headers=False,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        backlog=backlog,
        timeout_keep_alive=keep_alive_seconds,
        timeout_graceful_shutdown=stop_seconds,
    )
    return Server(config)
