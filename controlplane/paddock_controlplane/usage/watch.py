"""What the process tells about the ledger in its metrics."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from paddock_controlplane.db import EVERYTHING, Database
from paddock_controlplane.usage import rollups
from paddock_controlplane.usage.ledger import Ingested

_COMPARED_SECONDS = 2 * 86400.0


@dataclass(slots=True)
class LedgerWatch:
    """Counts what this process enters, and compares the sums by hour with the rows now and then."""

    accepted: int = 0
    counted: int = 0
    bounded: int = 0
    duplicates: int = 0
    unpriced: int = 0
    drift: rollups.Drift | None = None

    def count(self, ingested: Ingested) -> None:
        """Note a batch."""
        self.accepted += ingested.accepted
        self.counted += ingested.counted
        self.bounded += ingested.bounded
        self.duplicates += ingested.duplicates
        self.unpriced += ingested.unpriced

    async def compare(self, database: Database) -> rollups.Drift:
        """Compare the last two days."""
        now = datetime.now(UTC).timestamp()
        start = now - _COMPARED_SECONDS
        self.drift = await database.run(EVERYTHING, lambda session: rollups.drift(session, start=start, end=now))
        return self.drift

    def expose(self, meter: Meter) -> None:
        """Have the meter read it."""
        meter.create_observable_counter(
            "paddock.ledger.rows", [self._rows], description="Rows entered, by how far their figures can be trusted."
        )
        meter.create_observable_counter(
            "paddock.ledger.duplicates",
            [lambda _options: [Observation(self.duplicates)]],
            description="Rows that came again and changed nothing.",
        )
        meter.create_observable_counter(
            "paddock.ledger.unpriced",
            [lambda _options: [Observation(self.unpriced)]],
            description="Rows entered for which the price book had no price.",
        )
        meter.create_observable_gauge(
            "paddock.ledger.rollup_drift",
            [lambda _options: [] if self.drift is None else [Observation(self.drift.hours)]],
            description="Sums by hour of the last two days that are not what the rows give; always 0 if all is well.",
        )

    def _rows(self, _options: CallbackOptions) -> Iterable[Observation]:
        exact = self.accepted - self.counted - self.bounded
        for source, number in (("exact", exact), ("counted", self.counted), ("bounded", self.bounded)):
            yield Observation(number, {"usage_source": source})
