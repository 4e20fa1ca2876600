"""Log lines: one JSON object each, to stderr."""

import logging
import os
import select
import sys

from paddock_core.log_lines import JsonFormatter
from paddock_core.log_pipe import PipeHandler


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
