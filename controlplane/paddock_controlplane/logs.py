"""One JSON line per event on standard error."""

import logging
import os
import select
import sys
from datetime import UTC, datetime

import msgspec
from paddock_core.log_pipe import PipeHandler

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


def stderr_handler() -> PipeHandler:
    """Standard error, without ever waiting for who reads it."""
    number = sys.stderr.fileno()
    return PipeHandler(
        name=__name__,
        formatter=JsonFormatter(),
        ready=lambda: bool(select.select((), (number,), (), 0)[1]),
        write=lambda piece: os.write(number, piece),
    )


def configure() -> None:
    """Send every log of this process through the formatter."""
    handler = stderr_handler()
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("alembic.runtime.plugins").setLevel(logging.WARNING)
