"""What the license gate denied, counted and told to the control plane's audit log every minute, beside requests."""

import asyncio
import logging

import aiohttp
import msgspec
from paddock_core.audit.denials import Denial, DenialBook

from paddock_gateway.errors import told

_log = logging.getLogger(__name__)

TELL_SECONDS = 60.0


class _Told(msgspec.Struct, frozen=True, kw_only=True):
    source: str
    denials: list[Denial]


class DenialTeller:
    """Empties the book. What cannot be told now is told with the next minute's."""

    def __init__(self, *, book: DenialBook, url: str, token: str) -> None:
        self._book = book
        self._url = url.rstrip("/") + "/internal/v1/denials"
        self._headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}

    async def run(self, session: aiohttp.ClientSession) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(TELL_SECONDS)
            await self.tell(session)

    async def tell(self, session: aiohttp.ClientSession) -> None:
        """Tell what was counted so far."""
        taken = self._book.take()
        if not taken:
            return
        body = msgspec.json.encode(_Told(source="gateway", denials=taken))
        try:
            timeout = aiohttp.ClientTimeout(total=30)
            async with session.post(self._url, data=body, headers=self._headers, timeout=timeout) as response:
                if response.status < 300:
                    return
                problem = f"{response.status}: {(await response.text())[:300]}"
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            problem = told(error)
        _log.warning("denials could not be told", extra={"problem": problem})
        self._book.put_back(taken)
