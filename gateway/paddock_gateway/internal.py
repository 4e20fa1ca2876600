"""The internal port: signals for the operator, behind the internal API's token.

What it reads is bounded as on the public port: a head comes whole, within a time and a size, and connections are
counted. Only who has the token keeps a connection.
"""

import asyncio
import hmac
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from http import HTTPMethod
from typing import Any
from urllib.parse import parse_qs

import msgspec
from paddock_core import signals

from paddock_gateway.protocol import bounded, server_of
from paddock_gateway.secrets import SecretFile
from paddock_gateway.signals import Signals

MOST_WAIT_SECONDS = 30.0
MOST_POLLS = 16
"""Polls that may wait at once: an operator has one, a few when leadership changes."""
MOST_CONNECTIONS = 256
MOST_HEAD_BYTES = 16 * 1024
HEAD_SECONDS = 10.0
_KEEP_SECONDS = 30
_STOP_SECONDS = 1
_LAST_WORDS_SECONDS = 0.2
"""So long the port stays open for those that wait, once nothing is left to do."""
_MOST_CURSOR = 1 << 62
_JSON = (b"content-type", b"application/json")
_CLOSE = (b"connection", b"close")

_Scope = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class _ProblemError(Exception):
    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


class InternalApi:
    """One route, as a bare ASGI application."""

    def __init__(self, *, book: Signals, token: SecretFile) -> None:
        self._book = book
        self._token = token
        self.polls = 0
        """Polls that wait for news."""

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        if scope["type"] != "http":
            return
        try:
            after, wait = self._asked(scope)
        except _ProblemError as problem:
            await _respond(send, problem.status, msgspec.json.encode({"detail": problem.detail}), _CLOSE)
            return
        waits = wait > 0
        self.polls += waits
        try:
            body = await _unless_left(self._book.report(after=after, wait=wait), receive)
        finally:
            self.polls -= waits
        if body is not None:
            await _respond(send, 200, body)

    def _asked(self, scope: _Scope) -> tuple[int, float]:
        """The cursor, and how long to wait for news. Raises _ProblemError."""
        if scope["path"] != signals.PATH:
            raise _ProblemError(404, f"there is only {signals.PATH} here")
        if scope["method"] != HTTPMethod.GET:
            raise _ProblemError(405, "this address takes GET")
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        if not hmac.compare_digest(given, f"Bearer {self._token.text()}".encode()):
            raise _ProblemError(401, "this needs the internal API's token as a bearer token")
        query = parse_qs(scope["query_string"].decode("latin-1"))
        try:
            after, wait = int(query.get("after", ["0"])[-1]), float(query.get("wait", ["0"])[-1])
        except ValueError as error:
            raise _ProblemError(400, "after must be a whole number, and wait a number of seconds") from error
        if not (0 <= after <= _MOST_CURSOR and 0 <= wait <= MOST_WAIT_SECONDS):
            most = f"wait must be between 0 and {MOST_WAIT_SECONDS:g}"
            raise _ProblemError(400, f"after must not be negative, and {most}")
        if self.polls >= MOST_POLLS:
            raise _ProblemError(429, "too many polls wait: one for each reader is enough")
        return after, wait


async def _unless_left(report: Awaitable[bytes], receive: _Receive) -> bytes | None:
    """The report; None if who asked for it left before."""
    telling, leaving = asyncio.ensure_future(report), asyncio.ensure_future(_left(receive))
    try:
        await asyncio.wait((telling, leaving), return_when=asyncio.FIRST_COMPLETED)
        return telling.result() if telling.done() else None
    finally:
        telling.cancel()
        leaving.cancel()


async def _left(receive: _Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _respond(send: _Send, status: int, body: bytes, *extra: tuple[bytes, bytes]) -> None:
    headers = [_JSON, (b"content-length", str(len(body)).encode()), *extra]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def internal_port(*, book: Signals, token: SecretFile, host: str, port: int) -> AsyncIterator[None]:
    """Serve it until the block ends; by then no request may be left. Raises OSError if the address is taken."""
    api = InternalApi(book=book, token=token)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host, port), family=family, backlog=MOST_CONNECTIONS)
    server = server_of(
        api,
        protocol=bounded(max_head_bytes=MOST_HEAD_BYTES, head_seconds=HEAD_SECONDS, most_connections=MOST_CONNECTIONS),
        keep_alive_seconds=_KEEP_SECONDS,
        stop_seconds=_STOP_SECONDS,
    )
    serving = asyncio.create_task(server.serve([listening]))
    try:
        yield
    finally:
        book.end()
        if api.polls:
            await asyncio.sleep(_LAST_WORDS_SECONDS)
        server.leave()
        await serving
