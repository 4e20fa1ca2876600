"""OpenTelemetry of this process: Prometheus always, OTLP where OTEL_EXPORTER_OTLP_ENDPOINT says so."""

import os
from dataclasses import dataclass

from opentelemetry import metrics, trace
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import CollectorRegistry

NAME = "paddock-controlplane"


@dataclass(frozen=True, slots=True, kw_only=True)
class Telemetry:
    """Tracer, meter and the registry that /metrics shows. One set a process or test, never the global one."""

    tracer: trace.Tracer
    meter: metrics.Meter
    registry: CollectorRegistry
    tracer_provider: TracerProvider
    meter_provider: MeterProvider

    def close(self) -> None:
        """Export what is left."""
        self.tracer_provider.shutdown()
        self.meter_provider.shutdown()


def build() -> Telemetry:
    """Providers with the exporters that the environment asks for."""
    resource = Resource.create({"service.name": NAME})
    registry = CollectorRegistry()
    readers: list[MetricReader] = [PrometheusMetricReader(registry=registry)]
    tracer_provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    if os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        _export(tracer_provider, readers)
    meter_provider = MeterProvider(metric_readers=readers, resource=resource, shutdown_on_exit=False)
    return Telemetry(
        tracer=tracer_provider.get_tracer(NAME),
        meter=meter_provider.get_meter(NAME),
        registry=registry,
        tracer_provider=tracer_provider,
        meter_provider=meter_provider,
    )


def _export(provider: TracerProvider, readers: list[MetricReader]) -> None:
    """The exporters are imported only here: they are large, and most processes do not use them."""
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    readers.append(PeriodicExportingMetricReader(OTLPMetricExporter()))
