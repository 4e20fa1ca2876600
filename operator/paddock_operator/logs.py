"""One JSON line an event, to stderr."""

import copy
import logging
import os
import select
import sys

from paddock_core.log_lines import JsonFormatter
from paddock_core.log_pipe import PipeHandler

_KOPF_OWN = frozenset({"settings", "k8s_skip", "k8s_ref"})


class _Formatter(JsonFormatter):
    """Without what kopf's own handlers alone can use; they get the same record."""

    def format(self, record: logging.LogRecord) -> str:
        if record.name.startswith("kopf"):
            record = copy.copy(record)
            for name in _KOPF_OWN & vars(record).keys():
                delattr(record, name)
        return super().format(record)


def stderr_handler() -> PipeHandler:
    """Standard error, without ever waiting for who reads it."""
    number = sys.stderr.fileno()
    return PipeHandler(
        name=__name__,
        formatter=_Formatter(),
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
