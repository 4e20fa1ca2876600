"""Traces of what this package does outside Triton. Exported only where OTEL_EXPORTER_OTLP_ENDPOINT is set."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from opentelemetry import trace


@contextmanager
def span(name: str, **attributes: str) -> Iterator[None]:
    """Run the block as a span, with `paddock.<key>` attributes."""
    named = {f"paddock.{key}": value for key, value in attributes.items()}
    with _tracer().start_as_current_span(f"paddock.serving.{name}", attributes=named):
        yield


@cache
def _tracer() -> trace.Tracer:
    if os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        _export()
    return trace.get_tracer("paddock_serving")


def _export() -> None:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": "paddock-serving"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
