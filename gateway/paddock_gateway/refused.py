"""Records that the control plane does not take: kept beside the journal, holding up nothing, never lost."""

import logging
import os
from pathlib import Path

import msgspec
from paddock_core.usage.record import UsageRecord

_log = logging.getLogger(__name__)
NAME = "refused.jsonl"


class _Entry(msgspec.Struct, frozen=True):
    problem: str
    record: UsageRecord


_decoder = msgspec.json.Decoder(_Entry)


class RefusedRecords:
    """`refused.jsonl`: one line a record, with the reason. Its methods block: call them in a thread."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / NAME
        self._known = {record.usage_id for record in self.load()}

    def __len__(self) -> int:
        return len(self._known)

    def load(self) -> list[UsageRecord]:
        """What was refused so far. A line that a crash cut off is passed over: its record is still in the journal."""
        return [entry.record for line in self._lines() if (entry := _entry(line)) is not None]

    def add(self, record: UsageRecord, problem: str) -> None:
        """Keep a record, durable when this returns; once, however often it is refused. Raises OSError."""
        if record.usage_id in self._known:
            return
        line = msgspec.json.encode(_Entry(problem=problem, record=record)) + b"\n"
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "r+b", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                line = b"\n" + line  # a crash cut the line before this one off
            if file.write(line) != len(line):
                raise OSError("the disk took only a part of the record")
            os.fsync(descriptor)
        self._known.add(record.usage_id)
        _log.critical(
            "the control plane refuses a usage record: it is kept aside and sent again at the next start; upgrade "
            "the control plane, or mend what it says",
            extra={"usage_id": record.usage_id, "problem": problem, "file": NAME},
        )

    def forget(self, accepted: set[str]) -> None:
        """Take out what the ledger has meanwhile. Raises OSError, and then nothing has changed."""
        kept = [line for line in self._lines() if (entry := _entry(line)) and entry.record.usage_id not in accepted]
        temporary = self._path.with_suffix(".new")
        with temporary.open("wb") as file:
            file.writelines(line + b"\n" for line in kept)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)
        self._known -= accepted

    def _lines(self) -> list[bytes]:
        try:
            return self._path.read_bytes().splitlines()
        except FileNotFoundError:
            return []


def _entry(line: bytes) -> _Entry | None:
    try:
        return _decoder.decode(line)
    except msgspec.DecodeError:
        return None
