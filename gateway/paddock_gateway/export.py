"""OpenTelemetry's export over OTLP: one span a request, one a shipped batch, and OpenTelemetry's own instruments.

There only where OTEL_EXPORTER_OTLP_ENDPOINT is set; without it nothing here costs a request anything.
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

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
from paddock_core.usage.journal_frames import Intent
from paddock_core.usage.record import UsageRecord

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
DURATION = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
FIRST_TOKEN = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
TOKENS = tuple(4.0**power for power in range(14))
_propagator = TraceContextTextMapPropagator()


def traceparent(span: trace.Span) -> str:
    """The header that makes a span the parent of what the receiver does."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier, context=trace.set_span_in_context(span))
    return carrier.get("traceparent", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What is exported, and `close`, which sends what is left."""

    tracer: trace.Tracer
    tokens: metrics.Histogram
    duration: metrics.Histogram
    first_token: metrics.Histogram
    close: Callable[[], None]

    def begin(self, intent: Intent, headers: Iterable[tuple[bytes, bytes]]) -> trace.Span:
        """The span of an admitted request, a child of the client's own if it sent a traceparent."""
        carrier = {name.decode(): value.decode("latin-1") for name, value in headers if name == b"traceparent"}
        return self.tracer.start_span(
            f"{intent.operation} {intent.model}",
            context=_propagator.extract(carrier),
            kind=trace.SpanKind.SERVER,
            start_time=int(intent.t_admit * 1e9),
            attributes={
                names.OPERATION_NAME: intent.operation,
                names.REQUEST_MODEL: intent.model,
                names.PADDOCK_DEPLOYMENT: intent.deployment,
                names.PADDOCK_USAGE_ID: intent.usage_id,
            },
        )

    def settle(self, record: UsageRecord, span: trace.Span | None) -> None:
        """Record one finished request and end its span."""
        shared: dict[str, Any] = {names.OPERATION_NAME: record.operation, names.REQUEST_MODEL: record.model}
        self.tokens.record(record.input_tokens, {**shared, names.TOKEN_TYPE: "input"})
        self.tokens.record(record.output_tokens, {**shared, names.TOKEN_TYPE: "output"})
        self.duration.record(record.t_end - record.t_admit, shared)
        if record.t_first_token is not None:
            self.first_token.record(record.t_first_token - record.t_admit, shared)
        if span is None:
            return
        span.set_attribute(names.USAGE_INPUT_TOKENS, record.input_tokens)
        span.set_attribute(names.USAGE_OUTPUT_TOKENS, record.output_tokens)
        if record.status != "ok":
            span.set_attribute(names.ERROR_TYPE, record.status)
        span.end(end_time=int(record.t_end * 1e9))

    def ship(self, *, records: int) -> trace.Span:
        """The span of one attempt to ship so many usage records."""
        return self.tracer.start_span("ship", kind=trace.SpanKind.CLIENT, attributes={names.PADDOCK_RECORDS: records})


def start_export(instance: str) -> Exported | None:
    """Begin to export if the environment says where to."""
    if not os.environ.get(ENDPOINT):
        return None
    resource = Resource.create({"service.name": "paddock-gateway", "service.instance.id": instance})
    buckets = {
        names.CLIENT_TOKEN_USAGE: TOKENS,
        names.SERVER_REQUEST_DURATION: DURATION,
        names.SERVER_TIME_TO_FIRST_TOKEN: FIRST_TOKEN,
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

    def close() -> None:
        spans.shutdown()
        provider.shutdown()

    return Exported(
        tracer=spans.get_tracer("paddock.gateway"),
        tokens=meter.create_histogram(names.CLIENT_TOKEN_USAGE, unit="{token}"),
        duration=meter.create_histogram(names.SERVER_REQUEST_DURATION, unit="s"),
        first_token=meter.create_histogram(names.SERVER_TIME_TO_FIRST_TOKEN, unit="s"),
        close=close,
    )
