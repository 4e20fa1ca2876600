"""Logs: one JSON line an event, on standard error."""

import logging
import sys

from paddock_core.log_lines import JsonFormatter


def configure_logging() -> None:
    """Send everything from INFO upwards to standard error as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)
