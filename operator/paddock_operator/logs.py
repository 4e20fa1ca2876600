"""One JSON line an event, to stderr."""

import json
import logging
import os
import select
import sys
import time

from paddock_core.log_pipe import PipeHandler

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_KOPF_OWN = frozenset({"settings", "k8s_skip", "k8s_ref"})


class JsonFormatter(logging.Formatter):
    """Time, level, logger, message, and everything given as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "time": f"{stamp}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in record.__dict__.items() if name not in _STANDARD}
        if record.name.startswith("kopf"):
            line = {name: value for name, value in line.items() if name not in _KOPF_OWN}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def stderr_handler() -> PipeHandler:
    """Standard error, without ever waiting for who reads it."""
    number = sys.stderr.fileno()
    return PipeHandler(
        name=__name__,
        formatter=JsonFormatter(),
        ready=lambda: bool(select.select((), (number,), (), 0)[1]),
        write=lambda piece: os.write(number, piece),
    )


def configure_logging(level: str) -> None:
    """Send all logs of the process to stderr. Libraries only speak up when something is wrong."""
    handler = stderr_handler()
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("paddock_operator").setLevel(level)
    # A refusal by the webhook is an answer, not an error of the operator: events.py logs it as one.
    logging.getLogger("kopf.objects").addFilter(lambda record: not record.getMessage().startswith("Webhook "))
