"""One JSON line per event on standard error."""

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


def configure() -> None:
    """Send every log of this process through the formatter."""
    handler = stderr_handler()
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("alembic.runtime.plugins").setLevel(logging.WARNING)
