"""The operator's own follower of gateways, and what it would do about a copy that is to go."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
from paddock_operator.adapters.clock import SystemClock
from paddock_operator.adapters.gateways import GatewayFollower
from paddock_operator.decide.draining import Drain, drained
from paddock_operator.ports import Key
from paddock_operator.signals_book import SignalBook

UID = "uid-demo"
LIMIT_SECONDS = 900.0


class Leads:
    """Always."""

    def __init__(self) -> None:
        self.leading, self.following = asyncio.Event(), asyncio.Event()
        self.leading.set()


class Ahead(SystemClock):
    """The real clocks, moved on by so many seconds."""

    seconds = 0.0

    def now(self) -> float:
        return super().now() + self.seconds

    def boottime(self) -> float:
        return super().boottime() + self.seconds


@contextlib.asynccontextmanager
async def operator(
    world: Any,
    woken: list[Key],
    *,
    ports: tuple[int, ...] = (),
    clock: SystemClock | None = None,
) -> AsyncIterator[SignalBook]:
    """Follows the gateways at these internal ports; at that of the world's gateway, where none is named."""
    book = SignalBook(clock=clock or SystemClock(), wake=woken.append, configured=True)
    token = world.settings.internal_token_file.read_bytes().strip()
    urls = tuple(f"http://127.0.0.1:{port}" for port in ports or (world.settings.internal_port,))
    async with aiohttp.ClientSession() as session:
        follower = GatewayFollower(session=session, urls=urls, token=lambda: token, book=book)
        task = asyncio.create_task(follower.run(Leads()))  # type: ignore[arg-type]
        try:
            yield book
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def drain(book: SignalBook, *, url: str, digest: str, since: float, clock: SystemClock | None = None) -> Drain:
    """May the copy at this URL go, which left the routing with this digest?"""
    now = (clock or SystemClock()).now()
    return drained(
        urls={url}, digest=digest, since=since, now=now, limit_seconds=LIMIT_SECONDS, gateways=book.about(UID)
    )
