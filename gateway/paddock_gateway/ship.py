"""From the journal to the ledger: batches, retried for ever; a segment goes only after it was acknowledged.

Its users must be with the control plane by then, too (active_users.py).

The control plane takes a record once however often it is sent (by usage_id), so a batch whose answer was lost is
simply sent again, and a start begins again at the oldest segment. A record that it will never take is kept aside.
"""

import asyncio
import logging
import os
from dataclasses import dataclass

import aiohttp
import msgspec
from paddock_core.usage.journal_frames import MAGIC, SETTLEMENT, salvage_frames
from paddock_core.usage.record import UsageRecord

from paddock_gateway.active_users import ActiveUsers
from paddock_gateway.errors import told
from paddock_gateway.export import Exported, traceparent
from paddock_gateway.journal import Journal
from paddock_gateway.refused import RefusedRecords

_log = logging.getLogger(__name__)
READ_BYTES = 1024 * 1024
_INVALID = frozenset({400, 413, 422})
"""Answers that blame the batch itself: sending it again would change nothing. Any other may pass."""


class _Batch(msgspec.Struct, frozen=True):
    records: list[UsageRecord]


@dataclass(slots=True)
class _Position:
    segment: int
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stretch:
    """Records of one segment from a position on."""

    records: list[UsageRecord]
    end: _Position
    gaps: tuple[tuple[int, int], ...]


class Shipper:
    """Follows the journal from its oldest segment on."""

    def __init__(
        self,
        *,
        journal: Journal,
        refused: RefusedRecords,
        users: ActiveUsers,
        url: str,
        token: str,
        batch: int,
        linger: float,
        exported: Exported | None,
    ) -> None:
        self._journal = journal
        self.users = users
        self._url = url.rstrip("/") + "/internal/v1/usage"
        self._headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        self._limit = batch
        self._linger = linger
        self._exported = exported
        self._position = _Position(segment=0, offset=0)
        self.refused = refused
        self.shipped = 0
        self.recovered = False
        """True once the ledger has every record of this instance's earlier processes."""
        self._recovering = False

    async def run(self, session: aiohttp.ClientSession) -> None:
        """Ship until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._try_refused_again(session))
            while True:
                self._journal.settled_event.clear()
                before = self.shipped
                if await self.ship_available(session):
                    if self.shipped - before < self._limit:  # more at once costs less
                        await asyncio.sleep(self._linger)
                    continue
                await self._journal.settled_event.wait()
                await asyncio.sleep(self._linger)

    async def ship_available(self, session: aiohttp.ClientSession) -> bool:
        """Send what is durable now; False if there was nothing to read."""
        complete = self._recovering  # as it was before the journal was read
        stretch = await asyncio.to_thread(self._next_stretch)
        if stretch is None:
            self._release()
            self.recovered = self.recovered or complete
            return False
        if stretch.gaps:
            self._journal.note_damage(stretch.end.segment, stretch.gaps)
        await self.deliver(session, stretch.records, segment=stretch.end.segment)
        self._position = stretch.end
        self._release()
        return True

    def expect_recovery(self) -> None:
        """The journal holds what earlier processes left: `recovered` is true once all of it was shipped."""
        self._recovering = True
        self._journal.settled_event.set()

    def _release(self) -> None:
        """Segments whose records the ledger has, and whose users the sketches have."""
        needed = self.users.first_needed()
        done = self._position.segment if needed is None else min(needed, self._position.segment)
        self._journal.release(done - 1)

    async def deliver(self, session: aiohttp.ClientSession, records: list[UsageRecord], *, segment: int = 0) -> None:
        """Send records until the ledger has each, or it was refused and is kept aside; count their users.

        `segment` is where they lie in our own journal, 0 if they come from another.
        """
        for start in range(0, len(records), self._limit):
            await self._deliver(session, records[start : start + self._limit])
        self.users.count(records, segment=segment)

    def _next_stretch(self) -> _Stretch | None:
        """What comes after the position, passing over finished segments."""
        segments = self._journal.readable()
        for number, readable in segments:
            offset = self._position.offset if number == self._position.segment else len(MAGIC)
            if number < self._position.segment:
                continue
            stretch = self._read(number, offset, readable, finished=number != segments[-1][0])
            if stretch is not None:
                return stretch
        return None

    def _read(self, number: int, offset: int, readable: int, *, finished: bool) -> _Stretch | None:
        try:
            descriptor = os.open(self._journal.path(number), os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            left = max(0, readable - offset)
            salvaged = salvage_frames(os.pread(descriptor, min(READ_BYTES, left), offset), kinds=(SETTLEMENT,))
            if not salvaged.end and left > READ_BYTES:  # the damage is longer than what was read, or it is the end
                salvaged = salvage_frames(os.pread(descriptor, left, offset), kinds=(SETTLEMENT,))
            gaps = tuple((begin + offset, end + offset) for begin, end in salvaged.gaps)
            if offset == len(MAGIC) and os.pread(descriptor, len(MAGIC), 0) != MAGIC:
                gaps = ((0, len(MAGIC)), *gaps)
        finally:
            os.close(descriptor)
        if not salvaged.end:
            if not (finished and salvaged.torn):
                return None
            # Nobody will ever write the rest of this frame: a crash cut it off, or the disk has damaged it.
            gaps = (*gaps, (offset, readable))
            return _Stretch(records=[], end=_Position(segment=number, offset=readable), gaps=gaps)
        records = [item for item in salvaged.payloads if isinstance(item, UsageRecord)]
        return _Stretch(records=records, end=_Position(segment=number, offset=offset + salvaged.end), gaps=gaps)

    async def _deliver(self, session: aiohttp.ClientSession, records: list[UsageRecord]) -> None:
        """Send; halve what is refused until the record that is to blame stands alone, and keep that one aside."""
        problem = await self._send(session, records)
        if problem is None:
            self.shipped += len(records)
        elif len(records) == 1:
            await self._keep_aside(records[0], problem)
        else:
            middle = len(records) // 2
            await self._deliver(session, records[:middle])
            await self._deliver(session, records[middle:])

    async def _keep_aside(self, record: UsageRecord, problem: str) -> None:
        while True:
            try:
                await asyncio.to_thread(self.refused.add, record, problem)
            except OSError as error:
                _log.critical("a refused usage record cannot be kept, retrying", extra={"error": str(error)})
                await asyncio.sleep(1.0)
            else:
                return

    async def _try_refused_again(self, session: aiohttp.ClientSession) -> None:
        """What was refused before: the control plane may be a newer one by now."""
        records = await asyncio.to_thread(self.refused.load)
        accepted = {record.usage_id for record in records if await self._send(session, [record]) is None}
        if accepted:
            self.shipped += len(accepted)
            try:
                await asyncio.to_thread(self.refused.forget, accepted)
            except OSError as error:
                _log.warning("records that were taken at last are still listed", extra={"error": str(error)})

    async def _send(self, session: aiohttp.ClientSession, records: list[UsageRecord]) -> str | None:
        """Send until the control plane has decided: None if it took the records, else why it never will."""
        body = msgspec.json.encode(_Batch(records=records))
        delay = 0.2
        while True:
            try:
                status, detail = await self._post(session, body, len(records))
                problem = f"{status}: {detail[:500]}"
                if status == 200:
                    return None
                if status in _INVALID:
                    return problem
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                problem = told(error)
            _log.warning("usage could not be shipped", extra={"problem": problem, "retry_in": delay})
            await asyncio.sleep(delay)
            delay = min(delay * 2, 10.0)

    async def _post(self, session: aiohttp.ClientSession, body: bytes, records: int) -> tuple[int, str]:
        timeout, headers = aiohttp.ClientTimeout(total=30), self._headers
        span = None if self._exported is None else self._exported.ship(records=records)
        if span is not None:
            headers = {**headers, "traceparent": traceparent(span)}
        try:
            async with session.post(self._url, data=body, headers=headers, timeout=timeout) as response:
                return response.status, await response.text()
        finally:
            if span is not None:
                span.end()
