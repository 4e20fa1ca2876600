"""Log lines into a pipe that nobody may read: what it does not take at once is left out, and that is told later.

A process that waits for its log's reader serves nobody meanwhile. The pipe itself is what the caller brings.
"""

import logging
from collections.abc import Callable

PIECE = 4096
"""Bytes that a pipe takes whole when it takes any (PIPE_BUF)."""
LEFT_OUT = "log lines were left out, for nobody read the log"


class LogPipe:
    """Not safe to use from several threads at once: a logging handler's own lock is enough."""

    def __init__(
        self, *, ready: Callable[[], bool], write: Callable[[bytes], object], told: Callable[[str, int], bytes]
    ) -> None:
        """`ready` says whether `write` takes a piece without waiting; `told` makes a line of a message and a count."""
        self._ready = ready
        self._write = write
        self._told = told
        self._left_out = 0
        self._torn = False

    def put(self, line: bytes) -> None:
        """Write a line, or leave it out. Raises what `write` raises, and then the line is left out too."""
        if self._left_out and self._written((b"\n" if self._torn else b"") + self._told(LEFT_OUT, self._left_out)):
            self._left_out, self._torn = 0, False
        if self._left_out or not self._written(line):
            self._left_out += 1

    def _written(self, line: bytes) -> bool:
        for start in range(0, len(line), PIECE):
            if not self._ready():
                self._torn = self._torn or start > 0
                return False
            self._write(line[start : start + PIECE])
        return True


class PipeHandler(logging.Handler):
    """Log lines by a LogPipe: a record is written, or left out where nobody reads, or the disk is full."""

    def __init__(
        self,
        *,
        name: str,
        formatter: logging.Formatter,
        ready: Callable[[], bool],
        write: Callable[[bytes], object],
    ) -> None:
        """`name` is the logger under which the lines that were left out are told; the rest as LogPipe has it."""
        super().__init__()
        self.setFormatter(formatter)
        self._told_by = name
        self._pipe = LogPipe(ready=ready, write=write, told=self._told)

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record's line, or leave it out."""
        try:
            self._pipe.put(self.format(record).encode() + b"\n")
        except OSError:
            return
        except Exception:  # noqa: BLE001 - a line that cannot be made stops nobody
            self.handleError(record)

    def _told(self, message: str, count: int) -> bytes:
        level = {"levelno": logging.WARNING, "levelname": "WARNING"}
        record = logging.makeLogRecord(level | {"name": self._told_by, "msg": message, "lines": count})
        return self.format(record).encode() + b"\n"
