"""Secrets in files that may be replaced while the gateway runs."""

import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse

_log = logging.getLogger(__name__)
LOOK_SECONDS = 5.0
"""How often the file is looked at, at most: a new token is used within that time."""


class SecretFile:
    """The text of a secret's file, read again when the file changes. One that cannot be read changes nothing."""

    def __init__(self, path: Path, *, text: str, now: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._text = text
        self._now = now
        self._looked = now()

    def text(self) -> str:
        """The secret as the file has it now, or had it a moment ago."""
        if self._now() - self._looked >= LOOK_SECONDS:
            self._looked = self._now()
            self._look()
        return self._text

    def _look(self) -> None:
        try:
            found = self._path.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            _log.warning("a secret's file cannot be read: the one read before is used", extra={"error": str(error)})
            return
        if found and found != self._text:
            _log.info("a secret was replaced", extra={"file": self._path.name})
            self._text = found


def presenting(secret: SecretFile) -> Callable[[ClientRequest, ClientHandlerType], Awaitable[ClientResponse]]:
    """A middleware of aiohttp that shows the token as it is now, wherever one is shown."""

    async def show(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        if aiohttp.hdrs.AUTHORIZATION in request.headers:
            request.headers[aiohttp.hdrs.AUTHORIZATION] = f"Bearer {secret.text()}"
        return await handler(request)

    return show
