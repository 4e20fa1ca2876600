"""The usage journal: every request is on disk before it is dispatched, and its outcome before the client sees the end.

One writer a process. Frames gather for at most the window (1 ms by default) and are written and made durable together
by one thread. Segments are allocated ahead, and an intent is taken only while room for every open request's
settlement is left, so a full disk refuses new work and never loses a frame of admitted work. A segment is deleted
when every record in it and before it was acknowledged by the control plane and no open request began in it.
"""

import asyncio
import logging
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from paddock_core.usage.journal_frames import MAGIC, Intent, Payload, Progress, decode_frames, encode_frame
from paddock_core.usage.record import UsageRecord

from paddock_gateway.errors import JournalFullError

_log = logging.getLogger(__name__)
_SUFFIX = ".journal"
SETTLEMENT_ROOM = 2048
"""Bytes kept free for each open request's settlement; records are bounded well below."""


@dataclass(slots=True)
class Segment:
    """One file. Everything before `end` is durable."""

    number: int
    path: Path
    descriptor: int
    end: int
    """Where the next batch is written."""
    planned: int
    """`end` once every frame that is still gathered here is written."""


@dataclass(slots=True)
class _Batch:
    """Frames that become durable together, and the future that everyone who waits for them shares."""

    segment: Segment
    done: asyncio.Future[None]
    frames: list[bytes] = field(default_factory=list)


class Journal:
    """Append-only; belongs to the event loop, except for the writing itself."""

    def __init__(self, *, folder: Path, segment_bytes: int, window: float) -> None:
        self._folder = folder
        self._size = segment_bytes
        self._window = window
        self._threads = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")
        self._loop = asyncio.get_running_loop()
        self._batches: deque[_Batch] = deque()
        self._open: dict[str, int] = {}
        self._writer: asyncio.Task[None] | None = None
        self._rotation = asyncio.Lock()
        self._rotation_retry = 0.0
        self.failures = 0
        self.settled_event = asyncio.Event()
        folder.mkdir(parents=True, exist_ok=True)
        numbers = segment_numbers(folder)
        self._segment = _create(folder, (numbers[-1] if numbers else 0) + 1, segment_bytes)
        self._sequence = self._segment.number << 32

    @property
    def open_requests(self) -> int:
        """Requests with an intent and no settlement."""
        return len(self._open)

    def next_sequence(self) -> int:
        """A number that only grows, also from one start to the next."""
        self._sequence += 1
        return self._sequence

    async def begin(self, intent: Intent) -> None:
        """Make the intent durable. Raises JournalFullError, and then the request must be refused."""
        frame = encode_frame(intent)
        if not self._has_room(len(frame)) and not await self._rotate_for(len(frame)):
            raise JournalFullError("the usage journal's disk is full: free space, or ask the platform team to")
        self._open[intent.usage_id] = self._segment.number
        await self._append(frame)

    def checkpoint(self, progress: Progress) -> None:
        """Note how far a request has come. Nobody waits for it, and without room it is left out."""
        frame = encode_frame(progress)
        if self._has_room(len(frame)):
            self._append(frame)

    async def settle(self, record: UsageRecord) -> None:
        """Make the outcome durable. Room for it was kept when the request began."""
        await self._append(encode_frame(record))
        self._open.pop(record.usage_id, None)
        self.settled_event.set()

    def readable(self) -> tuple[tuple[int, int], ...]:
        """(segment, bytes that may be read) of every segment on disk, oldest first.

        Batches become durable in order, so whoever reads frames of a segment can read all of those before it.
        """
        number, end = self._segment.number, self._segment.end
        older = [item for item in segment_numbers(self._folder) if item < number]
        return (*((item, self.path(item).stat().st_size) for item in older), (number, end))

    def path(self, number: int) -> Path:
        """The file of a segment."""
        return segment_path(self._folder, number)

    def release(self, acknowledged: int) -> None:
        """Delete the segments up to `acknowledged` (all shipped) that no open request needs."""
        needed = min([self._segment.number, *self._open.values()])
        for number in segment_numbers(self._folder):
            if number > acknowledged or number >= needed:
                return
            self.path(number).unlink(missing_ok=True)

    async def close(self) -> None:
        """Write what is pending and close."""
        if self._writer is not None:
            await self._writer
        self._threads.shutdown(wait=True)
        os.close(self._segment.descriptor)

    def _has_room(self, size: int) -> bool:
        kept = (len(self._open) + 1) * SETTLEMENT_ROOM
        return self._segment.planned + size + kept <= self._size

    def _append(self, frame: bytes) -> asyncio.Future[None]:
        batch = self._batches[-1] if self._batches else None
        if batch is None or batch.segment is not self._segment:
            batch = _Batch(segment=self._segment, done=self._loop.create_future())
            self._batches.append(batch)
        batch.frames.append(frame)
        self._segment.planned += len(frame)
        if self._writer is None:
            self._writer = self._loop.create_task(self._write_batches())
        return batch.done

    async def _write_batches(self) -> None:
        """Write until nothing is pending."""
        try:
            while self._batches:
                await asyncio.sleep(self._window)
                batch = self._batches.popleft()
                await self._write(batch.segment, b"".join(batch.frames))
                batch.done.set_result(None)
                if batch.segment is not self._segment and not self._pending(batch.segment):
                    os.close(batch.segment.descriptor)
        finally:
            self._writer = None

    def _pending(self, segment: Segment) -> bool:
        return any(batch.segment is segment for batch in self._batches)

    async def _write(self, segment: Segment, data: bytes) -> None:
        """A failing disk is retried until it works: what was admitted is never dropped."""
        while True:
            try:
                await self._loop.run_in_executor(self._threads, _write_durably, segment.descriptor, data, segment.end)
            except OSError as error:
                self.failures += 1
                _log.critical("the usage journal cannot be written, retrying", extra={"error": str(error)})
                await asyncio.sleep(0.5)
            else:
                segment.end += len(data)
                return

    async def _rotate_for(self, size: int) -> bool:
        """Let new frames go to a new segment; False if none can be had."""
        async with self._rotation:
            if self._has_room(size):
                return True  # another request has rotated meanwhile
            open_room = (len(self._open) + 2) * SETTLEMENT_ROOM
            if self._loop.time() < self._rotation_retry or open_room + size + len(MAGIC) > self._size:
                return False
            finished = self._segment
            try:
                self._segment = await asyncio.to_thread(_create, self._folder, finished.number + 1, self._size)
            except OSError as error:
                _log.critical("a journal segment could not be allocated", extra={"error": str(error)})
                self._rotation_retry = self._loop.time() + 1.0
                return False
            if self._writer is None:
                os.close(finished.descriptor)
            return True


def segment_numbers(folder: Path) -> list[int]:
    """The segments in a folder, oldest first."""
    return sorted(int(path.stem) for path in folder.glob("*" + _SUFFIX) if path.stem.isdigit())


def segment_path(folder: Path, number: int) -> Path:
    """The file of a segment."""
    return folder / f"{number:012d}{_SUFFIX}"


def payloads_in_order(folder: Path, numbers: list[int]) -> Iterator[Payload]:
    """Every whole frame of these segments, oldest first."""
    for number in numbers:
        path = segment_path(folder, number)
        data = path.read_bytes()
        if not data.startswith(MAGIC):
            continue
        decoded = decode_frames(data, offset=len(MAGIC))
        if decoded.damaged:
            _log.warning("a journal segment ends in a torn frame", extra={"segment": number, "offset": decoded.end})
        yield from decoded.payloads


def _create(folder: Path, number: int, size: int) -> Segment:
    """A new segment, its whole size allocated, its name durable. Raises OSError; then nothing is left behind."""
    path = segment_path(folder, number)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, size)
        os.pwrite(descriptor, MAGIC, 0)
        os.fsync(descriptor)
        _sync_folder(folder)
    except OSError:
        os.close(descriptor)
        path.unlink(missing_ok=True)
        raise
    return Segment(number=number, path=path, descriptor=descriptor, end=len(MAGIC), planned=len(MAGIC))


def _write_durably(descriptor: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view = view[written:]
        offset += written
    os.fdatasync(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
