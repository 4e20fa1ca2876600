"""From the journal to the ledger: batches, retried for ever; a segment goes only after it was acknowledged.

The control plane takes a record once however often it is sent (by usage_id), so a batch whose answer was lost is
simply sent again, and a start begins again at the oldest segment.
"""

import asyncio
import logging
import os
from dataclasses import dataclass

import aiohttp
import msgspec
from paddock_core.usage.journal_frames import MAGIC, decode_frames
from paddock_core.usage.record import UsageRecord

from paddock_gateway.journal import Journal

_log = logging.getLogger(__name__)
READ_BYTES = 1024 * 1024


class _Batch(msgspec.Struct, frozen=True):
    records: list[UsageRecord]


@dataclass(slots=True)
class _Position:
    segment: int
    offset: int


class Shipper:
    """Follows the journal from its oldest segment on."""

    def __init__(self, *, journal: Journal, url: str, token: str, batch: int, linger: float) -> None:
        self._journal = journal
        self._url = url.rstrip("/") + "/internal/v1/usage"
        self._headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        self._limit = batch
        self._linger = linger
        self._position = _Position(segment=0, offset=0)
        self.shipped = 0

    async def run(self, session: aiohttp.ClientSession) -> None:
        """Ship until cancelled."""
        while True:
            self._journal.settled_event.clear()
            if await self.ship_available(session):
                continue
            await self._journal.settled_event.wait()
            await asyncio.sleep(self._linger)

    async def ship_available(self, session: aiohttp.ClientSession) -> bool:
        """Send what is durable now; False if there was nothing to read."""
        stretch = await asyncio.to_thread(self._next_stretch)
        if stretch is None:
            self._journal.release(self._position.segment - 1)
            return False
        records, position = stretch
        for start in range(0, len(records), self._limit):
            await self._send(session, records[start : start + self._limit])
        self._position = position
        self._journal.release(position.segment - 1)
        return True

    def _next_stretch(self) -> tuple[list[UsageRecord], _Position] | None:
        """Records after the position and where they end, passing over finished segments."""
        for number, readable in self._journal.readable():
            offset = self._position.offset if number == self._position.segment else len(MAGIC)
            if number < self._position.segment:
                continue
            records, end = self._read(number, offset, readable)
            if end > offset:
                return records, _Position(segment=number, offset=end)
        return None

    def _read(self, number: int, offset: int, readable: int) -> tuple[list[UsageRecord], int]:
        try:
            descriptor = os.open(self._journal.path(number), os.O_RDONLY)
        except FileNotFoundError:
            return [], offset
        try:
            data = os.pread(descriptor, max(0, min(READ_BYTES, readable - offset)), offset)
        finally:
            os.close(descriptor)
        decoded = decode_frames(data)
        return [item for item in decoded.payloads if isinstance(item, UsageRecord)], offset + decoded.end

    async def _send(self, session: aiohttp.ClientSession, records: list[UsageRecord]) -> None:
        body = msgspec.json.encode(_Batch(records=records))
        delay = 0.2
        while True:
            try:
                timeout = aiohttp.ClientTimeout(total=30)
                async with session.post(self._url, data=body, headers=self._headers, timeout=timeout) as response:
                    detail = await response.text()
                    if response.status == 200:
                        self.shipped += len(records)
                        return
                    problem = f"{response.status}: {detail[:500]}"
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                problem = repr(error)
            _log.warning("usage could not be shipped", extra={"problem": problem, "retry_in": delay})
            await asyncio.sleep(delay)
            delay = min(delay * 2, 10.0)
