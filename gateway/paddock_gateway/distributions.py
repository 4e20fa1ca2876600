"""Counters and histograms that cost a request about a microsecond each, in Prometheus' exposition.

OpenTelemetry's own instruments clean, hash and lock for every value recorded, which was a fifth of a request's CPU
(docs/adr/0006-gateway.md). They are used where OTLP export is on; what Prometheus scrapes is kept here.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

Labels = tuple[str, ...]


def exposed(name: str) -> str:
    """A convention's name with dots, as Prometheus writes it."""
    return name.replace(".", "_")


@dataclass(slots=True)
class _Series:
    counts: list[int]
    total: float = 0.0


@dataclass(slots=True)
class Distribution:
    """A histogram. Written by the event loop, read by the exposition's thread: each value is one integer or float."""

    name: str
    label_names: Labels
    unit: str
    """Suffix of the exposed name, as `seconds`; may be empty."""
    edges: tuple[float, ...]
    _series: dict[Labels, _Series] = field(default_factory=dict)

    def record(self, labels: Labels, value: float) -> None:
        """Count a value."""
        series = self._series.get(labels)
        if series is None:
            series = self._series[labels] = _Series([0] * (len(self.edges) + 1))
        series.counts[bisect_left(self.edges, value)] += 1
        series.total += value

    def family(self) -> Metric:
        """For the exposition."""
        name = exposed(self.name) + (f"_{self.unit}" if self.unit else "")
        family = HistogramMetricFamily(name, self.name, labels=[exposed(label) for label in self.label_names])
        names = [f"{edge:g}" for edge in self.edges] + ["+Inf"]
        for labels, series in list(self._series.items()):
            below, buckets = 0, []
            for name, count in zip(names, list(series.counts), strict=True):
                below += count
                buckets.append((name, float(below)))
            family.add_metric(labels, buckets, series.total)
        return family


@dataclass(slots=True)
class Count:
    """A counter."""

    name: str
    label_names: Labels
    _series: dict[Labels, int] = field(default_factory=dict)

    def add(self, labels: Labels, amount: int = 1) -> None:
        """Count so many."""
        self._series[labels] = self._series.get(labels, 0) + amount

    def family(self) -> Metric:
        """For the exposition."""
        family = CounterMetricFamily(
            exposed(self.name), self.name, labels=[exposed(label) for label in self.label_names]
        )
        for labels, value in list(self._series.items()):
            family.add_metric(labels, value)
        return family


@dataclass(slots=True, eq=False)
class Exposition(Collector):
    """Everything that one registry shows; gauges are asked when they are read."""

    instruments: tuple[Distribution | Count, ...]
    gauges: dict[str, Callable[[], float]]

    def collect(self) -> Iterable[Metric]:
        for instrument in self.instruments:
            yield instrument.family()
        for name, ask in self.gauges.items():
            yield GaugeMetricFamily(exposed(name), name, value=ask())
