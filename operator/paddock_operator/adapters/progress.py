"""How far a weights pod is, over HTTP."""

from http import HTTPStatus

import aiohttp
import msgspec
from paddock_core.resources.llamadeployment import WeightsStatus

TIMEOUT_SECONDS = 3.0
MOST_BYTES = 4096


class HttpProgressReader:
    """The port `ProgressReader`."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def read(self, *, url: str) -> WeightsStatus | None:
        """What the pod says. Nothing rests on it, so that whatever goes wrong is no answer."""
        limit = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
        try:
            async with self._session.get(
                url, timeout=limit, allow_redirects=False, headers={"Connection": "close"}
            ) as response:
                body = await response.content.read(MOST_BYTES) if response.status == HTTPStatus.OK else b""
            return msgspec.json.decode(body, type=WeightsStatus)
        except (aiohttp.ClientError, TimeoutError, OSError, msgspec.DecodeError):
            return None
