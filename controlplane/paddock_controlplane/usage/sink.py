"""The stream of events, pushed: every row of the ledger is posted to one receiver, at least once, in order of arrival.

How far the receiver has come lies in the database, and is moved after it has acknowledged. So a crash, or an answer
that was lost, sends events again, with the same ids, and misses none. Of several control planes the one that holds the
lease sends; no transaction is open meanwhile, since that would hold the stream itself back.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec
from opentelemetry.metrics import CallbackOptions, Meter, Observation
from paddock_core.usage.events import cloud_event, cursor_of
from paddock_core.usage.row import LedgerRow
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from paddock_controlplane.db import EVERYTHING, Database
from paddock_controlplane.problems import Problem
from paddock_controlplane.usage import events

if TYPE_CHECKING:
    import aiohttp

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/cloudevents-batch+json"
BATCH = 500
ANSWER_SECONDS = 30.0
LEASE_SECONDS = 90.0
"""Longer than one batch can take: who holds the lease may send."""
WAIT_SECONDS = 2.0
"""Between looks for new rows."""
MOST_DELAY_SECONDS = 60.0

_HOLD = text(
    "INSERT INTO usage_sinks AS s (url, holder, held_until)"
    " VALUES (:url, :holder, now() + make_interval(secs => :hold))"
    " ON CONFLICT (url) DO UPDATE SET holder = :holder, held_until = now() + make_interval(secs => :hold)"
    " WHERE s.holder = :holder OR s.held_until < now() RETURNING cursor"
)
_MOVE = text(
    "UPDATE usage_sinks SET cursor = :cursor, sent = sent + :sent, at = now() WHERE url = :url AND holder = :holder"
    " RETURNING url"
)
_LET_GO = text("UPDATE usage_sinks SET held_until = now() WHERE url = :url AND holder = :holder")


class EventSink:
    """Follows the ledger for one receiver. `token` gives what opens the receiver, read anew for each batch."""

    def __init__(self, *, database: Database, url: str, token: Callable[[], str]) -> None:
        self._database = database
        self._url = url
        self._token = token
        self._holder = uuid.uuid4().hex
        self.sent = 0
        self.failures = 0
        self.behind = 0.0
        """Seconds for which the oldest row that was not taken has been in the ledger."""

    async def run(self) -> None:
        """Send until cancelled; what fails is tried again, ever more seldom."""
        import aiohttp

        delay = WAIT_SECONDS
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        async with aiohttp.ClientSession(trust_env=False, timeout=timeout) as http:
            try:
                while True:
                    try:
                        found = await self.send_some(http)
                    except (aiohttp.ClientError, TimeoutError, OSError, Problem, SQLAlchemyError) as error:
                        self.failures += 1
                        log.warning("events could not be sent", extra={"error": _told(error), "retry_in": delay})
                        await asyncio.sleep(delay)
                        delay = min(2 * delay, MOST_DELAY_SECONDS)
                        continue
                    delay = WAIT_SECONDS
                    if not found:
                        await asyncio.sleep(WAIT_SECONDS)
            finally:
                await asyncio.shield(self._let_go())

    async def send_some(self, http: "aiohttp.ClientSession") -> int:
        """One batch; how many events it had. 0 also where another process sends.

        Raises aiohttp.ClientError, TimeoutError or OSError if the receiver did not take it, SQLAlchemyError if the
        database is away.
        """
        cursor = await self._database.run(EVERYTHING, self._hold)
        if cursor is None:
            self.behind = 0.0
            return 0
        rows = await self._database.run(
            EVERYTHING, lambda session: events.rows_after(session, tenant=None, cursor=cursor, limit=BATCH)
        )
        self.behind = max(0.0, time.time() - rows[0].ingested_at) if rows else 0.0
        if not rows:
            return 0
        await self._post(http, rows)
        self.sent += len(rows)
        await self._database.run(EVERYTHING, lambda session: self._move(session, rows))
        return len(rows)

    async def _post(self, http: "aiohttp.ClientSession", rows: Sequence[LedgerRow]) -> None:
        import aiohttp

        headers = {"content-type": MEDIA_TYPE}
        if token := self._token():
            headers["authorization"] = f"Bearer {token}"
        body = msgspec.json.encode([cloud_event(row) for row in rows])
        async with http.post(self._url, data=body, headers=headers, allow_redirects=False) as answer:
            said = (await answer.content.read(300)).decode("utf-8", "replace")
            if answer.status // 100 != 2:
                raise aiohttp.ClientError(f"the receiver answered {answer.status}: {said}")

    async def _hold(self, session: AsyncSession) -> str | None:
        """Where to go on, if this process may send."""
        values = {"url": self._url, "holder": self._holder, "hold": LEASE_SECONDS}
        found: str | None = (await session.execute(_HOLD, values)).scalar_one_or_none()
        return found

    async def _move(self, session: AsyncSession, rows: Sequence[LedgerRow]) -> None:
        values = {"url": self._url, "holder": self._holder, "cursor": cursor_of(rows[-1]), "sent": len(rows)}
        if (await session.execute(_MOVE, values)).scalar_one_or_none() is None:
            log.warning("another process sends events now: some were sent twice")

    async def _let_go(self) -> None:
        values = {"url": self._url, "holder": self._holder}
        try:
            async with self._database.transaction(EVERYTHING) as session:
                await session.execute(_LET_GO, values)
        except (Problem, SQLAlchemyError, OSError) as error:
            log.warning("the lease of the events' sink ends by itself", extra={"error": _told(error)})

    def expose(self, meter: Meter) -> None:
        """Have the meter read it."""

        def told(value: Callable[[], float]) -> Callable[[CallbackOptions], Iterable[Observation]]:
            return lambda _options: [Observation(value())]

        meter.create_observable_counter(
            "paddock.events.sent", [told(lambda: self.sent)], description="Events that the receiver has taken."
        )
        meter.create_observable_counter(
            "paddock.events.failures", [told(lambda: self.failures)], description="Batches that it did not take."
        )
        meter.create_observable_gauge(
            "paddock.events.behind",
            [told(lambda: self.behind)],
            unit="s",
            description="How long the oldest row that was not sent has been in the ledger.",
        )


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:500]
