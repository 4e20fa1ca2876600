"""Journals that gateways which are gone left on the same volume: their requests are settled and shipped here.

A folder is taken only while its lock is free and nothing in it has changed for a while: a gateway that merely restarts
finds its own journal again. Everything is done in an order in which a crash leaves nothing out; what is done twice is
entered once.
"""

import asyncio
import fcntl
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
from paddock_core.usage.journal_frames import MAGIC, Salvaged, salvage_frames
from paddock_core.usage.record import UsageRecord

from paddock_gateway.recover import Reaper, left_open
from paddock_gateway.refused import RefusedRecords
from paddock_gateway.segments import segment_numbers, segment_path, set_aside
from paddock_gateway.ship import Shipper

_log = logging.getLogger(__name__)
_LOCK = "lock"


@contextmanager
def folder_lock(folder: Path) -> Iterator[bool]:
    """Hold a journal folder; gives False where another process holds it: two writers would tear each other's frames."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


class Adopter:
    """Looks through the volume now and then."""

    def __init__(self, *, root: Path, own: str, shipper: Shipper, reaper: Reaper, idle: float) -> None:
        self._root = root
        self._own = own
        self._shipper = shipper
        self._reaper = reaper
        self._idle = idle

    async def run(self, session: aiohttp.ClientSession) -> None:
        """Adopt until cancelled; a folder counts as left when it has been still for `idle` seconds."""
        while True:
            await asyncio.sleep(self._idle)
            for folder in sorted(self._root.iterdir()):
                if folder.is_dir() and folder.name != self._own:
                    await self._adopt(session, folder)

    async def _adopt(self, session: aiohttp.ClientSession, folder: Path) -> None:
        with folder_lock(folder) as free:
            if not free or not _left(folder, self._idle):
                return
            try:
                async with asyncio.timeout(self._idle):  # the lock is not kept from its owner while nothing can be sent
                    await self._ship(session, folder)
            except TimeoutError:
                _log.warning("a journal that was left could not be shipped yet", extra={"instance": folder.name})
            except OSError as error:
                details = {"instance": folder.name, "error": str(error)}
                _log.warning("a journal that was left could not be read", extra=details)

    async def _ship(self, session: aiohttp.ClientSession, folder: Path) -> None:
        """What never ended goes first: the segments with its beginning must outlive it."""
        requests = await asyncio.to_thread(left_open, folder)
        lost = await asyncio.gather(*map(self._reaper.settle, requests))
        await self._shipper.deliver(session, lost)
        shipped = len(lost)
        for number in segment_numbers(folder):
            path = segment_path(folder, number)
            salvaged = await asyncio.to_thread(_read, path)
            records = [item for item in salvaged.payloads if isinstance(item, UsageRecord)]
            await self._shipper.deliver(session, records)
            shipped += len(records)
            await self._shipper.users.finish(session)
            if salvaged.gaps or salvaged.torn:
                set_aside(path)
            else:
                path.unlink()
        shipped += await self._ship_refused(session, folder)
        _log.warning("a journal that was left is in the ledger", extra={"instance": folder.name, "records": shipped})

    async def _ship_refused(self, session: aiohttp.ClientSession, folder: Path) -> int:
        """Records that were refused before; what is refused again is kept beside our own journal."""
        refused = RefusedRecords(folder)
        records = refused.load()
        if not records:
            return 0
        await self._shipper.deliver(session, records)
        refused.forget({record.usage_id for record in records})
        return len(records)


def _left(folder: Path, idle: float) -> bool:
    """True if there is something to ship, and nobody has written for `idle` seconds."""
    segments = [segment_path(folder, number) for number in segment_numbers(folder)]
    changed = [path.stat().st_mtime for path in (*segments, folder / _LOCK)]
    return bool(segments) and max(changed) < time.time() - idle


def _read(path: Path) -> Salvaged:
    return salvage_frames(path.read_bytes(), offset=len(MAGIC))
