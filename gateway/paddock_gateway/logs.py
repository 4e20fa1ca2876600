"""Log lines: one JSON object each, to stderr."""

import logging
import os
import select
import sys
from typing import Any

import msgspec
from paddock_core.log_pipe import LogPipe

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


class JsonFormatter(logging.Formatter):
    """Everything given as `extra` is a field of the line."""

    def format(self, record: logging.LogRecord) -> str:
        event: dict[str, Any] = {"t": record.created, "level": record.levelname, "logger": record.name}
        event["event"] = record.getMessage()
        event.update({key: value for key, value in vars(record).items() if key not in _STANDARD})
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


def configure_logging() -> None:
    """Send every log line to stderr as JSON; the HTTP clients' own chatter is left out."""
    handler = StderrHandler()
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    for name in ("httpx", "httpx2", "uvicorn.access"):
        logging.getLogger(name).setLevel(logging.WARNING)
