"""Metrics and traces: Prometheus exposition always, OTLP export beside it where that is on (export.py)."""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from wsgiref.simple_server import WSGIRequestHandler, make_server

from opentelemetry import trace
from paddock_core import telemetry_names as names
from paddock_core.usage.journal_frames import Intent
from paddock_core.usage.record import UsageRecord
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

from paddock_gateway.distributions import Count, Distribution, Exposition
from paddock_gateway.export import DURATION, FIRST_TOKEN, TOKENS, Exported

_SHARED = (names.OPERATION_NAME, names.REQUEST_MODEL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Telemetry:
    """The instruments of one process. Neither tenant nor key is a label: their number has no bound."""

    tokens: Distribution
    duration: Distribution
    first_token: Distribution
    refusals: Count
    settled: Count
    exported: Exported | None
    close: Callable[[], None]

    def begin(self, intent: Intent, headers: Iterable[tuple[bytes, bytes]]) -> trace.Span | None:
        """The span of an admitted request; None where nothing is exported."""
        return None if self.exported is None else self.exported.begin(intent, headers)

    def settle(self, record: UsageRecord, span: trace.Span | None) -> None:
        """Count one finished request and end its span."""
        shared = (record.operation, record.model)
        self.tokens.record((*shared, "input"), record.input_tokens)
        self.tokens.record((*shared, "output"), record.output_tokens)
        self.duration.record(shared, record.t_end - record.t_admit)
        if record.t_first_token is not None:
            self.first_token.record(shared, record.t_first_token - record.t_admit)
        self.settled.add((record.status, record.usage_source))
        if self.exported is not None:
            self.exported.settle(record, span)

    def refuse(self, reason: str) -> None:
        """Count a request that was answered with an error."""
        self.refusals.add((reason,))


def start_telemetry(
    *, exported: Exported | None, address: tuple[str, int], gauges: dict[str, Callable[[], float]]
) -> Telemetry:
    """Make the instruments and serve /metrics at the address. Each gauge is asked when the metrics are read.

    Raises OSError if the address is taken.
    """
    tokens = Distribution(names.CLIENT_TOKEN_USAGE, (*_SHARED, names.TOKEN_TYPE), "", TOKENS)
    duration = Distribution(names.SERVER_REQUEST_DURATION, _SHARED, "seconds", DURATION)
    first_token = Distribution(names.SERVER_TIME_TO_FIRST_TOKEN, _SHARED, "seconds", FIRST_TOKEN)
    refusals = Count("paddock.gateway.refusals", (names.PADDOCK_REASON,))
    settled = Count("paddock.gateway.settled", ("status", "usage_source"))
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    registry.register(Exposition((tokens, duration, first_token, refusals, settled), gauges))
    server = _serve_metrics(address, registry)

    def close() -> None:
        server.shutdown()
        server.server_close()
        if exported is not None:
            exported.close()

    return Telemetry(
        tokens=tokens,
        duration=duration,
        first_token=first_token,
        refusals=refusals,
        settled=settled,
        exported=exported,
        close=close,
    )


class _Silent(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Scrapes are not events."""


def _serve_metrics(address: tuple[str, int], registry: CollectorRegistry) -> ThreadingWSGIServer:
    """prometheus_client's own starter looks only twice a second whether it should stop."""
    server = make_server(*address, make_wsgi_app(registry), ThreadingWSGIServer, handler_class=_Silent)
    options = {"poll_interval": 0.05}
    threading.Thread(target=server.serve_forever, kwargs=options, name="metrics", daemon=True).start()
    return server
