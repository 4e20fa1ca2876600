"""Follows every gateway's signals into the book, for as long as this instance leads."""

import asyncio
import contextlib
import ipaddress
import logging
import socket
from collections.abc import Callable
from urllib.parse import urlsplit

import aiohttp
import msgspec
from paddock_core import signals

from paddock_operator.errors import told
from paddock_operator.leader import LeaderElector
from paddock_operator.signals_book import SignalBook

log = logging.getLogger(__name__)

RESOLVE_SECONDS = 10.0
WAIT_SECONDS = 5.0
"""How long a poll waits for news; a gateway counts as answering for three times as long."""
TIMEOUT_SECONDS = WAIT_SECONDS + 7.0
RETRY_FIRST_SECONDS, RETRY_MAX_SECONDS = 0.5, 5.0
MOST_BYTES = 64 * 1024 * 1024
MOST_ADDRESSES = 64
"""So many are followed. More are not, and as nobody knows what those do, no drain ends before its limit then."""
KEEP_SECONDS = 1800.0
"""An address that is no longer named is followed on for so long, while it answers: a gateway that stops leaves the
name at once, and its last requests end later."""

_decoder = msgspec.json.Decoder(signals.GatewayReport)


class GatewayFollower:
    """Polls each address of each configured base URL."""

    def __init__(
        self, *, session: aiohttp.ClientSession, urls: tuple[str, ...], token: Callable[[], bytes], book: SignalBook
    ) -> None:
        self._session = session
        self._urls = urls
        self._token = token
        self._book = book
        self._term = 0
        """Grows with each change of leadership: what was begun in an earlier term is not taken."""
        self._named: frozenset[str] = frozenset()
        self._followed: set[tuple[int, str]] = set()
        self._due: asyncio.Queue[tuple[int, str]] = asyncio.Queue()

    async def run(self, leader: LeaderElector) -> None:
        """Never returns. Every task that it needs is made before its first wait (main.py says why)."""
        async with asyncio.TaskGroup() as group:
            for _ in range(MOST_ADDRESSES if self._urls else 0):
                group.create_task(self._lane())
            while True:
                await leader.leading.wait()
                while leader.leading.is_set():
                    await self._look()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(RESOLVE_SECONDS):
                            await leader.following.wait()
                self._term += 1
                self._book.clear()

    async def _look(self) -> None:
        found: dict[str, None] = {}
        for url in self._urls:
            found |= dict.fromkeys(await _addresses(url))
        if found:  # a name that cannot be resolved for a moment takes no gateway away
            self._named = frozenset(sorted(found)[:MOST_ADDRESSES])
        if len(found) > MOST_ADDRESSES:
            log.error(
                "more gateways than can be followed: every drain lasts for its limit, and nothing is scaled down",
                extra={"gateways": len(found), "followed": MOST_ADDRESSES},
            )
        self._book.expect(found or self._named)
        for base in self._named:
            work = (self._term, base)
            if work not in self._followed:
                self._followed.add(work)
                self._due.put_nowait(work)

    async def _lane(self) -> None:
        while True:
            term, base = await self._due.get()
            try:
                await self._follow(term, base)
            finally:
                self._followed.discard((term, base))

    async def _follow(self, term: int, base: str) -> None:
        """Until leadership changes, or the address is named no longer and does not answer."""
        cursor, started, delay = 0, 0.0, RETRY_FIRST_SECONDS
        loop = asyncio.get_running_loop()
        unnamed_at: float | None = None
        while term == self._term:
            unnamed_at = None if base in self._named else unnamed_at or loop.time()
            try:
                report = await self._poll(base, cursor)
            except (aiohttp.ClientError, TimeoutError, OSError, msgspec.DecodeError, ValueError) as error:
                if unnamed_at is not None:
                    log.info("a gateway is gone", extra={"address": base})
                    return
                log.warning("a gateway tells nothing", extra={"address": base, "error": told(error)})
                await asyncio.sleep(delay)
                cursor, delay = 0, min(delay * 2, RETRY_MAX_SECONDS)
                continue
            delay = RETRY_FIRST_SECONDS
            if cursor and report.started_at != started:
                cursor = 0  # another process: what it told is counted by another cursor
                continue
            if term == self._term:
                cursor, started = report.cursor, report.started_at
                self._book.take(base, report)
            if unnamed_at is not None and loop.time() - unnamed_at > KEEP_SECONDS:
                return

    async def _poll(self, base: str, cursor: int) -> signals.GatewayReport:
        """One report. Raises ValueError for an answer that is none."""
        parameters = {"after": str(cursor), "wait": f"{WAIT_SECONDS:g}"}
        headers = {"Authorization": f"Bearer {self._token().decode()}"}
        async with self._session.get(
            base + signals.PATH,
            params=parameters,
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS),
            allow_redirects=False,
        ) as response:
            if response.status != 200:
                raise ValueError(f"it answered {response.status}")
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > MOST_BYTES:
                    raise ValueError(f"its report is larger than {MOST_BYTES} bytes")
        return _decoder.decode(body)


async def _addresses(url: str) -> list[str]:
    """Base URLs with an address in place of the host name, one for each that it has; none if it cannot be resolved."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    if parts.scheme != "http" or _is_address(host):
        return [url.rstrip("/")]  # the certificate is for the name
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        log.warning("a gateway's name cannot be resolved", extra={"host": host, "error": str(error)})
        return []
    hosts = dict.fromkeys(str(address[0]) for *_, address in found)
    return [f"http://[{item}]:{port}" if ":" in item else f"http://{item}:{port}" for item in hosts]


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
