"""The internal port: signals for the operator, behind the internal API's token."""

import asyncio
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from paddock_core import signals

from paddock_gateway.secrets import SecretFile
from paddock_gateway.signals import Signals

MOST_WAIT_SECONDS = 30.0
MOST_POLLS = 16
"""Polls that may wait at once: an operator has one, a few when leadership changes."""
_LAST_WORDS_SECONDS = 0.2
"""So long the port stays open for those that wait, once nothing is left to do."""
_MOST_CURSOR = 1 << 62


class InternalApi:
    """One route."""

    def __init__(self, *, book: Signals, token: SecretFile) -> None:
        self._book = book
        self._token = token
        self.polls = 0
        """Polls that wait."""

    def app(self) -> web.Application:
        """The application."""
        app = web.Application(client_max_size=1024)
        app.router.add_get(signals.PATH, self._signals)
        return app

    async def _signals(self, request: web.Request) -> web.Response:
        given = request.headers.get("authorization", "").encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(given, f"Bearer {self._token.text()}".encode()):
            return _problem(401, "this needs the internal API's token as a bearer token")
        try:
            after, wait = int(request.query.get("after", "0")), float(request.query.get("wait", "0"))
        except ValueError:
            return _problem(400, "after must be a whole number, and wait a number of seconds")
        if not (0 <= after <= _MOST_CURSOR and 0 <= wait <= MOST_WAIT_SECONDS):
            return _problem(400, f"after must not be negative, and wait must be between 0 and {MOST_WAIT_SECONDS:g}")
        if self.polls >= MOST_POLLS:
            return _problem(429, "too many polls wait: one for each reader is enough")
        self.polls += 1
        try:
            body = await self._book.report(after=after, wait=wait)
        finally:
            self.polls -= 1
        return web.Response(body=body, content_type="application/json")


def _problem(status: int, detail: str) -> web.Response:
    return web.json_response({"detail": detail}, status=status)


@asynccontextmanager
async def internal_port(*, book: Signals, token: SecretFile, host: str, port: int) -> AsyncIterator[None]:
    """Serve it until the block ends; by then no request may be left. Raises OSError if the address is taken."""
    api = InternalApi(book=book, token=token)
    runner = web.AppRunner(
        api.app(),
        access_log=None,
        handle_signals=False,
        handler_cancellation=True,
        shutdown_timeout=0.5,
        max_line_size=4096,
        max_field_size=8192,
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, reuse_address=True).start()
        yield
    finally:
        book.end()
        if api.polls:
            await asyncio.sleep(_LAST_WORDS_SECONDS)
        await runner.cleanup()
