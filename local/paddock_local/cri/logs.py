"""A container's log file in the format that the kubelet reads.

`TIME STREAM TAG LINE`, tag F for a full line and P for a part of one.
"""

import os
import time
from pathlib import Path

# Longer lines are cut into parts; the kubelet joins them again.
MAX_PART = 16 * 1024


def stamp(nanoseconds: int) -> str:
    """RFC 3339 with nanoseconds, UTC."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest:09d}Z"


class LineSplitter:
    """Cuts one stream of bytes into log lines, keeping what has no line end yet."""

    def __init__(self, stream: str, *, max_part: int = MAX_PART) -> None:
        self._stream = stream.encode()
        self._max = max_part
        self._rest = b""

    def _line(self, tag: bytes, text: bytes, nanoseconds: int) -> bytes:
        return b"%s %s %s %s\n" % (stamp(nanoseconds).encode(), self._stream, tag, text)

    def feed(self, data: bytes, nanoseconds: int) -> bytes:
        """The log lines that `data` completes."""
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        out = [entry for line in lines for entry in self._entries(line, nanoseconds)]
        while len(self._rest) >= self._max:
            out.append(self._line(b"P", self._rest[: self._max], nanoseconds))
            self._rest = self._rest[self._max :]
        return b"".join(out)

    def _entries(self, line: bytes, nanoseconds: int) -> list[bytes]:
        parts = [line[start : start + self._max] for start in range(0, len(line), self._max)] or [b""]
        tags = [b"P"] * (len(parts) - 1) + [b"F"]
        return [self._line(tag, part, nanoseconds) for tag, part in zip(tags, parts, strict=True)]

    def flush(self, nanoseconds: int) -> bytes:
        """What is left at the end of the stream, as a full line."""
        rest, self._rest = self._rest, b""
        return self._line(b"F", rest, nanoseconds) if rest else b""


class LogFile:
    """The file, which the kubelet may rename at any time; `reopen` then starts a new one under the old name."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = self._open()

    def _open(self) -> int:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)

    def reopen(self) -> None:
        """Go on in a file of the old name."""
        os.close(self._file)
        self._file = self._open()

    def write(self, data: bytes) -> None:
        """Append, whole."""
        while data:
            data = data[os.write(self._file, data) :]

    def close(self) -> None:
        """No more lines."""
        os.close(self._file)
