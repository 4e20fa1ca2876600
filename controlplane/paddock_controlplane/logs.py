"""One JSON line per event on standard error."""

import logging
import os
import select
import sys
from datetime import UTC, datetime

import msgspec
from paddock_core.log_pipe import LogPipe

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "color_message"}


class JsonFormatter(logging.Formatter):
    """A record and what was given as `extra`, as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        event: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        event.update((key, value) for key, value in record.__dict__.items() if key not in _STANDARD)
        if record.exc_info:
            event["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(event, enc_hook=str).decode()


class StderrHandler(logging.Handler):
    """Standard error, without ever waiting for who reads it (paddock_core.log_pipe)."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JsonFormatter())
        number = sys.stderr.fileno()
        self._pipe = LogPipe(
            ready=lambda: bool(select.select((), (number,), (), 0)[1]),
            write=lambda piece: os.write(number, piece),
            told=self._told,
        )

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record's line, or leave it out where nobody reads, or the disk is full."""
        try:
            self._pipe.put(self.format(record).encode() + b"\n")
        except OSError:
            return
        except Exception:  # noqa: BLE001 - a line that cannot be made stops nobody
            self.handleError(record)

    def _told(self, message: str, count: int) -> bytes:
        extra = {"levelno": logging.WARNING, "levelname": "WARNING", "name": __name__, "msg": message, "lines": count}
        return self.format(logging.makeLogRecord(extra)).encode() + b"\n"


def configure() -> None:
    """Send every log of this process through the formatter."""
    handler = StderrHandler()
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("alembic.runtime.plugins").setLevel(logging.WARNING)
