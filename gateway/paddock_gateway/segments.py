"""The journal's files: made ahead at their whole size, named by their number, read in order.

A new segment is written full of zeros before it is used. Space that is only allocated costs a commit of the file
system's own journal wherever it is written for the first time, and each batch of frames would wait for that.
"""

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from paddock_core.usage.journal_frames import MAGIC, Payload, salvage_frames

_log = logging.getLogger(__name__)
_SUFFIX = ".journal"
_DAMAGED = ".damaged"
_ZEROS = bytes(256 * 1024)


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

    def discard(self) -> None:
        """Close and delete one that was never used."""
        os.close(self.descriptor)
        self.path.unlink(missing_ok=True)


def segment_numbers(folder: Path) -> list[int]:
    """The segments in a folder, oldest first."""
    return sorted(int(path.stem) for path in folder.glob("*" + _SUFFIX) if path.stem.isdigit())


def segment_path(folder: Path, number: int) -> Path:
    """The file of a segment."""
    return folder / f"{number:012d}{_SUFFIX}"


def damaged_segments(folder: Path) -> int:
    """How many were set aside."""
    return sum(1 for _ in folder.glob("*" + _SUFFIX + _DAMAGED))


def aside(path: Path) -> Path:
    """The name under which a damaged segment is kept; nothing reads it."""
    return path.with_name(path.name + _DAMAGED)


def set_aside(path: Path) -> None:
    """Keep a damaged segment under that name."""
    path.rename(aside(path))


def payloads_in_order(folder: Path, numbers: list[int]) -> Iterator[Payload]:
    """Every whole frame of these segments, oldest first. Damage in the middle is told by whoever ships it."""
    for number in numbers:
        salvaged = salvage_frames(segment_path(folder, number).read_bytes(), offset=len(MAGIC))
        if salvaged.torn:
            _log.warning("a journal segment ends in a torn frame", extra={"segment": number, "offset": salvaged.end})
        yield from salvaged.payloads


def create(folder: Path, number: int, size: int) -> Segment:
    """A new segment, written at its whole size, its name durable. Raises OSError; then nothing is left behind.

    Its zeros reach the disk piece by piece, so that commits to another segment meanwhile find their way between them.
    """
    path = segment_path(folder, number)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_DSYNC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, size)
        for start in range(0, size, len(_ZEROS)):
            write_durably(descriptor, _ZEROS[: size - start], start)
        write_durably(descriptor, MAGIC, 0)
        os.fsync(descriptor)
        _sync_folder(folder)
    except OSError:
        os.close(descriptor)
        path.unlink(missing_ok=True)
        raise
    return Segment(number=number, path=path, descriptor=descriptor, end=len(MAGIC), planned=len(MAGIC))


def write_durably(descriptor: int, data: bytes, offset: int) -> None:
    """Returns once the bytes are on the disk: the descriptor is open with O_DSYNC."""
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view = view[written:]
        offset += written


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
