"""The usage journal: every request is on disk before it is dispatched, and its outcome before the client sees the end.

One writer a process. Frames gather while the commit before them is under way, and are written and made durable
together by one thread: the busier, the larger the groups. With few requests open nobody waits for a timer; with many,
frames gather for a window, since what a commit costs then counts for more than the moment. Segments are allocated
ahead, and an intent is taken only while room for every open request's settlement is left, so a full disk refuses new
work and never loses a frame of admitted work. A segment is deleted when every record in it and before it was
acknowledged by the control plane and no open request began in it; one that the disk has damaged is renamed instead.
"""

import asyncio
import logging
import os
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import SimpleQueue

from paddock_core.usage.journal_frames import MAGIC, FrameTooLargeError, Intent, Progress, encode_frame
from paddock_core.usage.record import UsageRecord

from paddock_gateway.errors import JournalCrowdedError, JournalFullError
from paddock_gateway.segments import (
    Segment,
    aside,
    create,
    damaged_segments,
    segment_numbers,
    segment_path,
    set_aside,
    write_durably,
)

_log = logging.getLogger(__name__)
WINDOW_SECONDS = 0.002
"""How long frames gather at least while CROWD requests are open."""
CROWD = 16
SETTLEMENT_ROOM = 2048
"""Bytes kept free for each open request's settlement; records are bounded well below."""


@dataclass(slots=True, eq=False)
class _Batch:
    """Frames that become durable together, and a future for each who waits for them."""

    segment: Segment
    frames: list[bytes] = field(default_factory=list)
    waiters: list[asyncio.Future[None]] = field(default_factory=list)
    window: bool = False
    """True while its window has not ended."""


class Journal:
    """Append-only; belongs to the event loop, except for the writing itself."""

    def __init__(self, *, folder: Path, segment_bytes: int) -> None:
        self._folder = folder
        self._size = segment_bytes
        self._loop = asyncio.get_running_loop()
        self._gathering: _Batch | None = None
        self._pending = 0
        self._queue: SimpleQueue[_Batch | None] = SimpleQueue()
        self._open: dict[str, int] = {}
        self._finished: list[Segment] = []
        self._damaged: set[int] = set()
        self._rotation: asyncio.Task[None] | None = None
        self._rotation_retry = 0.0
        self.failures = 0
        self.settled_event = asyncio.Event()
        folder.mkdir(parents=True, exist_ok=True)
        numbers = segment_numbers(folder)
        self._segment = create(folder, (numbers[-1] if numbers else 0) + 1, segment_bytes)
        self._next = self._prepare()
        self._sequence = self._segment.number << 32
        self._thread = threading.Thread(target=self._write_batches, name="journal", daemon=True)
        self._thread.start()

    @property
    def damaged(self) -> int:
        """Segments found damaged, those that earlier processes set aside included."""
        return len(self._damaged) + damaged_segments(self._folder)

    def note_damage(self, number: int, gaps: tuple[tuple[int, int], ...]) -> None:
        """A segment has these damaged stretches: it is to be kept, not deleted."""
        self._damaged.add(number)
        _log.critical(
            "a journal segment is damaged: the frames before and behind are read, the segment is kept aside; check the "
            "disk, and the ledger for requests of that time",
            extra={"segment": number, "gaps": [list(gap) for gap in gaps], "kept_as": aside(self.path(number)).name},
        )

    @property
    def open_requests(self) -> int:
        """Requests with an intent and no settlement."""
        return len(self._open)

    def next_sequence(self) -> int:
        """A number that only grows, also from one start to the next."""
        self._sequence += 1
        return self._sequence

    def keep_open(self, usage_id: str) -> None:
        """A request that an earlier process left open: every segment stays until it is settled here."""
        self._open[usage_id] = 0

    def has_begun(self, usage_id: str) -> bool:
        """True if the intent is durable or on its way to the disk, and not settled: it must be settled."""
        return usage_id in self._open

    async def begin(self, intent: Intent) -> None:
        """Make the intent durable. If this is cancelled, `has_begun` says whether the intent was taken all the same.

        Raises JournalFullError or JournalCrowdedError, and then the request must be refused.
        """
        frame = encode_frame(intent)
        while not self._has_room(len(frame)):
            await self._rotate_for(len(frame))
        self._open[intent.usage_id] = self._segment.number
        await self._waiter(self._append(frame))

    def checkpoint(self, progress: Progress) -> None:
        """Note how far a request has come. Nobody waits for it, and without room it is left out."""
        frame = encode_frame(progress)
        if self._has_room(len(frame)):
            self._append(frame)

    async def settle(self, record: UsageRecord) -> None:
        """Make the outcome durable. Room for it was kept when the request began."""
        await self._waiter(self._append(_settlement_frame(record)))
        self._open.pop(record.usage_id, None)
        self.settled_event.set()

    def readable(self) -> tuple[tuple[int, int], ...]:
        """(segment, bytes that may be read) of every segment on disk, oldest first.

        Batches become durable in order, so whoever reads frames of a segment can read all of those before it.
        """
        current = self._segment
        number, end = current.number, current.end
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
            if number in self._damaged:
                set_aside(self.path(number))
                self._damaged.discard(number)
            else:
                self.path(number).unlink(missing_ok=True)

    async def close(self) -> None:
        """Write what is pending and close."""
        if self._rotation is not None:
            await self._rotation
        if self._gathering is not None:
            self._hand_over(self._gathering)
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)
        await asyncio.sleep(0)  # the last batch's result is delivered
        os.close(self._segment.descriptor)
        if (unused := await self._next) is not None:
            unused.discard()

    def _has_room(self, size: int) -> bool:
        kept = (len(self._open) + 1) * SETTLEMENT_ROOM
        return self._segment.planned + size + kept <= self._size

    def _append(self, frame: bytes) -> _Batch:
        self._segment.planned += len(frame)
        batch = self._gathering
        if batch is None:
            batch = self._gathering = _Batch(segment=self._segment)
            if len(self._open) >= CROWD:
                batch.window = True
                self._loop.call_later(WINDOW_SECONDS, self._end_window, batch)
            elif not self._pending:
                self._loop.call_soon(self._hand_over, batch)
        batch.frames.append(frame)
        return batch

    def _waiter(self, batch: _Batch) -> asyncio.Future[None]:
        """Done once the batch is durable. Each has its own: one who is cancelled does not cancel it for the others."""
        waiter = self._loop.create_future()
        batch.waiters.append(waiter)
        return waiter

    def _end_window(self, batch: _Batch) -> None:
        batch.window = False
        if not self._pending:
            self._hand_over(batch)

    def _hand_over(self, batch: _Batch) -> None:
        """The thread is free, or will be after what it has: it may write the batch."""
        if self._gathering is batch:
            self._gathering = None
            self._pending += 1
            self._queue.put(batch)

    def _write_batches(self) -> None:
        """The thread: one write a batch, in order; then its waiters are told."""
        while (batch := self._queue.get()) is not None:
            self._write(batch.segment, b"".join(batch.frames))
            self._loop.call_soon_threadsafe(self._written, batch)

    def _write(self, segment: Segment, data: bytes) -> None:
        """A failing disk is retried until it works: what was admitted is never dropped."""
        offset = segment.end
        while True:
            try:
                write_durably(segment.descriptor, data, offset)
            except OSError as error:
                self.failures += 1
                _log.critical("the usage journal cannot be written, retrying", extra={"error": str(error)})
                time.sleep(0.5)
            else:
                segment.end += len(data)
                return

    def _written(self, batch: _Batch) -> None:
        self._pending -= 1
        for waiter in batch.waiters:
            if not waiter.done():
                waiter.set_result(None)
        if self._gathering is not None:
            if not self._gathering.window:
                self._hand_over(self._gathering)
        elif not self._pending:
            self._close_finished()

    def _close_finished(self) -> None:
        while self._finished:
            os.close(self._finished.pop().descriptor)

    async def _rotate_for(self, size: int) -> None:
        """Begin a new segment, for all who wait for one. Raises JournalFullError or JournalCrowdedError."""
        if (len(self._open) + 2) * SETTLEMENT_ROOM + size + len(MAGIC) > self._size:
            raise JournalCrowdedError(
                "this gateway has as many open requests as its journal can settle: try again; the platform team can "
                "run more gateways or raise PADDOCK_GATEWAY_JOURNAL_SEGMENT_BYTES"
            )
        if self._rotation is None:
            if self._loop.time() < self._rotation_retry:
                raise JournalFullError("the usage journal's disk is full: free space, or ask the platform team to")
            self._rotation = self._loop.create_task(self._rotate())
        await asyncio.shield(self._rotation)

    def _prepare(self) -> "asyncio.Task[Segment | None]":
        """Make the segment after this one while there is time."""
        return self._loop.create_task(self._prepared(self._segment.number + 1))

    async def _prepared(self, number: int) -> Segment | None:
        """None if there is no room: it is tried again when the segment is needed."""
        try:
            return await asyncio.to_thread(create, self._folder, number, self._size)
        except OSError as error:
            _log.warning("the next journal segment cannot be made ahead", extra={"error": str(error)})
            return None

    async def _rotate(self) -> None:
        """A task of its own: whoever asked for it may be cancelled, and a file half taken over would be lost."""
        finished = self._segment
        try:
            if (segment := await self._next) is None:
                segment = await asyncio.to_thread(create, self._folder, finished.number + 1, self._size)
        except OSError as error:
            _log.critical("a journal segment could not be allocated", extra={"error": str(error)})
            self._rotation_retry = self._loop.time() + 1.0
            return
        finally:
            self._rotation = None
        self._segment = segment
        self._next = self._prepare()
        self._finished.append(finished)
        if self._gathering is not None:
            self._hand_over(self._gathering)
        if not self._pending:
            self._close_finished()


def _settlement_frame(record: UsageRecord) -> bytes:
    """The record as a frame for which room was kept. Texts that came from an engine are left out if they do not fit."""
    try:
        frame = encode_frame(record)
    except FrameTooLargeError:
        frame = b""
    if 0 < len(frame) <= SETTLEMENT_ROOM:
        return frame
    _log.error("a settlement is too long: it is written without the engine's texts", extra={"id": record.usage_id})
    return encode_frame(replace(record, finish_reason=None, raw_usage=None))
