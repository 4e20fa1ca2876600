"""Metrics and traces: Prometheus exposition always, OTLP export where OTEL_EXPORTER_OTLP_ENDPOINT is set."""

import os
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from paddock_core import telemetry_names as names
from paddock_core.usage.record import UsageRecord
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

from paddock_gateway.distributions import Count, Distribution, Exposition

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
_DURATION = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_FIRST = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_TOKENS = tuple(4.0**power for power in range(14))
_SHARED = (names.OPERATION_NAME, names.REQUEST_MODEL)
_propagator = TraceContextTextMapPropagator()


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """OpenTelemetry's own instruments, there only where something receives them."""

    tracer: trace.Tracer
    tokens: metrics.Histogram
    duration: metrics.Histogram
    first_token: metrics.Histogram

    def settle(self, record: UsageRecord, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Record one finished request, and its span as a child of the client's own if it sent a traceparent."""
        shared: dict[str, Any] = {names.OPERATION_NAME: record.operation, names.REQUEST_MODEL: record.model}
        self.tokens.record(record.input_tokens, {**shared, names.TOKEN_TYPE: "input"})
        self.tokens.record(record.output_tokens, {**shared, names.TOKEN_TYPE: "output"})
        self.duration.record(record.t_end - record.t_admit, shared)
        if record.t_first_token is not None:
            self.first_token.record(record.t_first_token - record.t_admit, shared)
        carrier = {name.decode(): value.decode("latin-1") for name, value in headers if name == b"traceparent"}
        attributes = {
            **shared,
            names.USAGE_INPUT_TOKENS: record.input_tokens,
            names.USAGE_OUTPUT_TOKENS: record.output_tokens,
            names.PADDOCK_DEPLOYMENT: record.deployment,
            names.PADDOCK_USAGE_ID: record.usage_id,
        }
        if record.status != "ok":
            attributes[names.ERROR_TYPE] = record.status
        span = self.tracer.start_span(
            f"{record.operation} {record.model}",
            context=_propagator.extract(carrier),
            kind=trace.SpanKind.SERVER,
            start_time=int(record.t_admit * 1e9),
            attributes=attributes,
        )
        span.end(end_time=int(record.t_end * 1e9))


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

    def settle(self, record: UsageRecord, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Count one finished request."""
        shared = (record.operation, record.model)
        self.tokens.record((*shared, "input"), record.input_tokens)
        self.tokens.record((*shared, "output"), record.output_tokens)
        self.duration.record(shared, record.t_end - record.t_admit)
        if record.t_first_token is not None:
            self.first_token.record(shared, record.t_first_token - record.t_admit)
        self.settled.add((record.status, record.usage_source))
        if self.exported is not None:
            self.exported.settle(record, headers)

    def refuse(self, reason: str) -> None:
        """Count a request that was answered with an error."""
        self.refusals.add((reason,))


def start_telemetry(*, instance: str, address: tuple[str, int], gauges: dict[str, Callable[[], float]]) -> Telemetry:
    """Make the instruments and serve /metrics at the address. Each gauge is asked when the metrics are read.

    Raises OSError if the address is taken.
    """
    tokens = Distribution(names.CLIENT_TOKEN_USAGE, (*_SHARED, names.TOKEN_TYPE), "", _TOKENS)
    duration = Distribution(names.SERVER_REQUEST_DURATION, _SHARED, "seconds", _DURATION)
    first_token = Distribution(names.SERVER_TIME_TO_FIRST_TOKEN, _SHARED, "seconds", _FIRST)
    refusals = Count("paddock.gateway.refusals", (names.PADDOCK_REASON,))
    settled = Count("paddock.gateway.settled", ("status", "usage_source"))
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    registry.register(Exposition((tokens, duration, first_token, refusals, settled), gauges))
    server = _serve_metrics(address, registry)
    exported, closers = _start_export(instance) if os.environ.get(ENDPOINT) else (None, [])

    def close() -> None:
        server.shutdown()
        server.server_close()
        for closer in closers:
            closer()

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


def _start_export(instance: str) -> tuple[Exported, list[Callable[[], None]]]:
    resource = Resource.create({"service.name": "paddock-gateway", "service.instance.id": instance})
    buckets = {
        names.CLIENT_TOKEN_USAGE: _TOKENS,
        names.SERVER_REQUEST_DURATION: _DURATION,
        names.SERVER_TIME_TO_FIRST_TOKEN: _FIRST,
    }
    views = [
        View(instrument_name=name, aggregation=ExplicitBucketHistogramAggregation(boundaries=list(edges)))
        for name, edges in buckets.items()
    ]
    reader = PeriodicExportingMetricReader(OTLPMetricExporter())
    provider = MeterProvider(resource=resource, metric_readers=[reader], views=views)
    spans = TracerProvider(resource=resource)
    spans.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    meter = provider.get_meter("paddock.gateway")
    exported = Exported(
        tracer=spans.get_tracer("paddock.gateway"),
        tokens=meter.create_histogram(names.CLIENT_TOKEN_USAGE, unit="{token}"),
        duration=meter.create_histogram(names.SERVER_REQUEST_DURATION, unit="s"),
        first_token=meter.create_histogram(names.SERVER_TIME_TO_FIRST_TOKEN, unit="s"),
    )
    return exported, [spans.shutdown, provider.shutdown]
