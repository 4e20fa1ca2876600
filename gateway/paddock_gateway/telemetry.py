"""Metrics and traces: Prometheus exposition always, OTLP export where OTEL_EXPORTER_OTLP_ENDPOINT is set."""

import logging
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import msgspec
from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from paddock_core import telemetry_names as names
from paddock_core.usage.record import UsageRecord
from prometheus_client import start_http_server

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
_DURATION = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_FIRST = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_TOKENS = tuple(4.0**power for power in range(14))
_OUTPUT = {names.TOKEN_TYPE: "output"}
_INPUT = {names.TOKEN_TYPE: "input"}
_propagator = TraceContextTextMapPropagator()
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


class JsonFormatter(logging.Formatter):
    """One JSON object a line; everything given as `extra` is a field of it."""

    def format(self, record: logging.LogRecord) -> str:
        event: dict[str, Any] = {"t": record.created, "level": record.levelname, "logger": record.name}
        event["event"] = record.getMessage()
        event.update({key: value for key, value in vars(record).items() if key not in _STANDARD})
        if record.exc_info:
            event["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(event, enc_hook=str).decode()


def configure_logging() -> None:
    """Send every log line to stderr as JSON."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(os.environ.get("PADDOCK_GATEWAY_LOG_LEVEL", "INFO").upper())
    logging.getLogger("httpx2").setLevel(logging.WARNING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Telemetry:
    """The instruments of one process."""

    tracer: trace.Tracer | None
    """None where nothing exports: then a request pays nothing for tracing."""
    tokens: metrics.Histogram
    duration: metrics.Histogram
    first_token: metrics.Histogram
    refusals: metrics.Counter
    settled: metrics.Counter
    shipped: metrics.Counter
    close: Callable[[], None]

    def settle(self, record: UsageRecord) -> None:
        """Count one finished request. Neither tenant nor key is an attribute: their number has no bound."""
        shared = {names.OPERATION_NAME: record.operation, names.REQUEST_MODEL: record.model}
        self.tokens.record(record.input_tokens, {**shared, **_INPUT})
        self.tokens.record(record.output_tokens, {**shared, **_OUTPUT})
        self.duration.record(record.t_end - record.t_admit, shared)
        if record.t_first_token is not None:
            self.first_token.record(record.t_first_token - record.t_admit, shared)
        self.settled.add(1, {"status": record.status, "usage_source": record.usage_source})

    def refuse(self, reason: str) -> None:
        """Count a request that was answered with an error before it was admitted."""
        self.refusals.add(1, {names.PADDOCK_REASON: reason})

    def span(self, record: UsageRecord, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Export one finished request as a span, child of the client's own if it sent a traceparent."""
        if self.tracer is None:
            return
        carrier = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers if name == b"traceparent"}
        span = self.tracer.start_span(
            f"{record.operation} {record.model}",
            context=_propagator.extract(carrier),
            kind=trace.SpanKind.SERVER,
            start_time=int(record.t_admit * 1e9),
            attributes={
                names.OPERATION_NAME: record.operation,
                names.REQUEST_MODEL: record.model,
                names.USAGE_INPUT_TOKENS: record.input_tokens,
                names.USAGE_OUTPUT_TOKENS: record.output_tokens,
                names.PADDOCK_DEPLOYMENT: record.deployment,
                names.PADDOCK_USAGE_ID: record.usage_id,
            },
        )
        if record.status != "ok":
            span.set_attribute(names.ERROR_TYPE, record.status)
        span.end(end_time=int(record.t_end * 1e9))


def start_telemetry(*, instance: str, address: tuple[str, int], gauges: dict[str, Callable[[], float]]) -> Telemetry:
    """Make the instruments and serve /metrics at the address. Each gauge is asked when the metrics are read.

    Raises OSError if the address is taken.
    """
    resource = Resource.create({"service.name": "paddock-gateway", "service.instance.id": instance})
    exporting = bool(os.environ.get(ENDPOINT))
    readers: list[MetricReader] = [PrometheusMetricReader()]
    tracer = None
    closers: list[Callable[[], object]] = []
    if exporting:
        readers.append(PeriodicExportingMetricReader(OTLPMetricExporter()))
        spans = TracerProvider(resource=resource)
        spans.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        tracer = spans.get_tracer("paddock.gateway")
        closers.append(spans.shutdown)
    provider = MeterProvider(resource=resource, metric_readers=readers, views=_views())
    server, thread = start_http_server(address[1], addr=address[0])
    closers += [provider.shutdown, server.shutdown, server.server_close, thread.join]
    meter = provider.get_meter("paddock.gateway")
    for name, ask in gauges.items():
        meter.create_observable_gauge(name, callbacks=[_observe(ask)])

    def close() -> None:
        for closer in closers:
            closer()

    return Telemetry(
        tracer=tracer,
        tokens=meter.create_histogram(names.CLIENT_TOKEN_USAGE, unit="{token}"),
        duration=meter.create_histogram(names.SERVER_REQUEST_DURATION, unit="s"),
        first_token=meter.create_histogram(names.SERVER_TIME_TO_FIRST_TOKEN, unit="s"),
        refusals=meter.create_counter("paddock.gateway.refusals"),
        settled=meter.create_counter("paddock.gateway.settled"),
        shipped=meter.create_counter("paddock.gateway.records_shipped"),
        close=close,
    )


def _observe(ask: Callable[[], float]) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def observe(_: CallbackOptions) -> Iterable[Observation]:
        yield Observation(ask())

    return observe


def _views() -> list[View]:
    buckets = {
        names.CLIENT_TOKEN_USAGE: _TOKENS,
        names.SERVER_REQUEST_DURATION: _DURATION,
        names.SERVER_TIME_TO_FIRST_TOKEN: _FIRST,
    }
    return [
        View(instrument_name=name, aggregation=ExplicitBucketHistogramAggregation(boundaries=list(edges)))
        for name, edges in buckets.items()
    ]
