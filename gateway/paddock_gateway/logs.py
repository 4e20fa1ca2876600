"""Log lines: one JSON object each, to stderr."""

import logging
import os
import select
import sys
from typing import Any

import msgspec
from paddock_core.log_pipe import PipeHandler

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


def stderr_handler() -> PipeHandler:
    """Standard error, without ever waiting for who reads it."""
    number = sys.stderr.fileno()
    return PipeHandler(
        name=__name__,
        formatter=JsonFormatter(),
        ready=lambda: bool(select.select((), (number,), (), 0)[1]),
        write=lambda piece: os.write(number, piece),
    )


def configure_logging() -> None:
    """Send every log line to stderr as JSON; the HTTP clients' own chatter is left out."""
    handler = stderr_handler()
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    for name in ("httpx", "httpx2", "uvicorn.access"):
        logging.getLogger(name).setLevel(logging.WARNING)
