"""What carries the requests of httpx2's client: aiohttp, at about a third of the CPU of the client's own transport.

lightkube's client keeps what is hard to get right (kubeconfig files, tokens that rotate, exec plugins, TLS settings);
only the bytes go another way. Connections are kept and shared; HTTP/1.1, since there are few requests at a time.
"""

import ssl
from collections.abc import AsyncIterator
from types import TracebackType

import aiohttp
import httpx2

CONNECTIONS = 128
"""More than workers and watches together."""
KEEP_SECONDS = 30.0
"""Shorter than any server or load balancer keeps an idle connection."""


class AiohttpTransport(httpx2.AsyncBaseTransport):
    """One session, made with the first request, since it belongs to the event loop that runs then."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Raises httpx2.TransportError as the client's own transport does."""
        session = self._session or self._open()
        body = await request.aread()
        headers = {name: value for name, value in request.headers.items() if name not in _OURS}
        try:
            answer = await session.request(
                request.method,
                str(request.url),
                data=body or None,
                headers=headers,
                timeout=_timeout(request),
                allow_redirects=False,
            )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _translated(error, request) from error
        return httpx2.Response(
            answer.status, headers=answer.raw_headers, stream=_Stream(answer, request), request=request
        )

    def _open(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(ssl=self._context, limit=CONNECTIONS, keepalive_timeout=KEEP_SECONDS)
        self._session = aiohttp.ClientSession(
            connector=connector,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=_AUTOMATIC,
        )
        return self._session

    async def aclose(self) -> None:
        """Close every connection."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.aclose()


class _Stream(httpx2.AsyncByteStream):
    """The body, as it comes."""

    def __init__(self, answer: aiohttp.ClientResponse, request: httpx2.Request) -> None:
        self._answer = answer
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._answer.content.iter_any():
                yield chunk
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _translated(error, self._request) from error

    async def aclose(self) -> None:
        # One that was read to its end is kept for the next request, any other is closed.
        self._answer.release()


_OURS = frozenset({"host", "content-length", "transfer-encoding", "connection", "accept-encoding"})
"""Headers that aiohttp says itself, and one that would only make the API server compress what stays on the wire for
a moment."""
_AUTOMATIC = ("User-Agent", "Content-Type", "Accept", "Accept-Encoding")


def _timeout(request: httpx2.Request) -> aiohttp.ClientTimeout:
    given = request.extensions.get("timeout", {})
    return aiohttp.ClientTimeout(
        total=None, connect=given.get("pool"), sock_connect=given.get("connect"), sock_read=given.get("read")
    )


def _translated(error: Exception, request: httpx2.Request) -> httpx2.TransportError:
    kind: type[httpx2.TransportError]
    match error:
        case aiohttp.ConnectionTimeoutError():
            kind = httpx2.ConnectTimeout
        case TimeoutError():
            kind = httpx2.ReadTimeout
        case aiohttp.ClientConnectorError():
            kind = httpx2.ConnectError
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientPayloadError():
            kind = httpx2.RemoteProtocolError
        case _:
            kind = httpx2.NetworkError
    return kind(str(error) or type(error).__name__, request=request)
