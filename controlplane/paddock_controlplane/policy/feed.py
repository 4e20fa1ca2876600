"""Wakes the followers that wait for a change: LISTEN on one connection, and a look at the head every second."""

import asyncio
import contextlib
import logging

import asyncpg

from paddock_controlplane.audit.service import CHANNEL

log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0
_BACKOFF_SECONDS = (0.1, 0.3, 1.0, 2.0)


class PolicyFeed:
    """The newest revision that this process heard of, and a way to wait for a newer one.

    A NOTIFY may be lost with its connection, so the head is also read every second on the same connection: that finds
    what was missed and tells early that the connection is dead.
    """

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn.replace("postgresql+asyncpg://", "postgresql://", 1)
        self._newest = 0
        self._heard = asyncio.Event()

    async def wait_beyond(self, revision: int, *, seconds: float) -> bool:
        """Wait until a revision newer than `revision` is known, at most so long. True if there is one."""
        deadline = asyncio.get_running_loop().time() + seconds
        while self._newest <= revision:
            heard = self._heard
            try:
                async with asyncio.timeout_at(deadline):
                    await heard.wait()
            except TimeoutError:
                return False
        return True

    async def run(self) -> None:
        """Follow the database until cancelled, through any loss of it."""
        failures = 0
        while True:
            try:
                await self._follow()
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                delay = _BACKOFF_SECONDS[min(failures, len(_BACKOFF_SECONDS) - 1)]
                failures += 1
                log.warning("policy feed interrupted", extra={"error": str(error), "retry_seconds": delay})
                await asyncio.sleep(delay)
            else:
                failures = 0

    async def _follow(self) -> None:
        connection = await asyncpg.connect(self._dsn, timeout=5, command_timeout=5)
        try:
            await connection.add_listener(CHANNEL, self._on_notify)
            # A new connection may be to another database state (a restored backup): what was heard before is void.
            self._newest = 0
            while not connection.is_closed():
                self._hear(int(await connection.fetchval("SELECT revision FROM head")))
                await asyncio.sleep(_LOOK_SECONDS)
        finally:
            with contextlib.suppress(Exception):
                connection.terminate()

    def _on_notify(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        self._hear(int(str(payload)))

    def _hear(self, revision: int) -> None:
        if revision > self._newest:
            self._newest = revision
            heard, self._heard = self._heard, asyncio.Event()
            heard.set()
