"""Traces and metrics: Prometheus always, OTLP traces where OTEL_EXPORTER_OTLP_ENDPOINT is set."""

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from paddock_core import telemetry_names

from paddock_operator.ports import Key

Gauge = Callable[[], float]
Gauges = Callable[[], Iterable[tuple[float, dict[str, str]]]]
"""Values, each with its labels."""
WAIT_BOUNDS = (
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 7.5, 10.0, 30.0, 60.0,
)  # fmt: skip
"""Seconds. Closest where the target lies: 99 of 100 keys wait less than five."""
LAG_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.125, 0.15, 0.2, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Seconds. Closest where the target lies: 99 of 100 looks come less than a tenth late."""


class Telemetry:
    """The operator's instruments."""

    def __init__(self) -> None:
        resource = Resource.create({"service.name": "paddock-operator"})
        provider = _tracer_provider(resource)
        self._tracer = None if provider is None else provider.get_tracer("paddock_operator")
        self._meters = MeterProvider(resource=resource, metric_readers=[PrometheusMetricReader()])
        self._meter = self._meters.get_meter("paddock_operator")
        self._rounds = self._meter.create_counter("paddock_operator_rounds", description="Rounds of reconciling")
        self._failures = self._meter.create_counter("paddock_operator_round_failures", description="Rounds that failed")
        self._seconds = self._meter.create_histogram(
            "paddock_operator_round_duration", unit="s", description="Duration of a round"
        )
        self._waits = self._meter.create_histogram(
            "paddock_operator_queue_wait",
            unit="s",
            description="For how long a key was due before its round began",
            explicit_bucket_boundaries_advisory=WAIT_BOUNDS,
        )
        self._lags = self._meter.create_histogram(
            "paddock_operator_loop_lag",
            unit="s",
            description="How much later than asked the event loop came back",
            explicit_bucket_boundaries_advisory=LAG_BOUNDS,
        )

    @contextlib.contextmanager
    def round(self, key: Key) -> Iterator[None]:
        """Measure one round."""
        begin = time.monotonic()
        with self._span(key):
            try:
                yield
            except Exception as error:
                self._failures.add(1, {telemetry_names.ERROR_TYPE: type(error).__name__})
                raise
            finally:
                self._rounds.add(1)
                self._seconds.record(time.monotonic() - begin)

    def _span(self, key: Key) -> contextlib.AbstractContextManager[object]:
        if self._tracer is None:
            return contextlib.nullcontext()
        attributes = {telemetry_names.PADDOCK_DEPLOYMENT: str(key)}
        return self._tracer.start_as_current_span("reconcile", attributes=attributes)

    def waited(self, seconds: float) -> None:
        """A key was due for so long before its round began."""
        self._waits.record(seconds)

    def lagged(self, seconds: float) -> None:
        """The event loop came back so much later than asked."""
        self._lags.record(seconds)

    def gauge(self, name: str, description: str, read: Gauge) -> None:
        """A gauge that is read when the metrics are asked for."""

        self.gauges(name, description, lambda: [(read(), {})])

    def gauges(self, name: str, description: str, read: Gauges) -> None:
        """The same with labels. What is not among the values any more is not shown any more."""

        def observe(_options: CallbackOptions) -> Iterable[Observation]:
            return [Observation(value, labels) for value, labels in read()]

        self._meter.create_observable_gauge(name, callbacks=[observe], description=description)

    def close(self) -> None:
        """Send what is left."""
        self._meters.shutdown()


def _tracer_provider(resource: Resource) -> TracerProvider | None:
    """What nobody is sent is not recorded: a span costs a twentieth of a round."""
    if not os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        return None
    # Imported only where it is used: it costs several MB.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider
