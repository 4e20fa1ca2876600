"""Holds the accounts of limits against the ledger, every hour, and shows by how much they differed."""

import logging
from collections.abc import Iterable

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from paddock_controlplane.db import EVERYTHING, Database
from paddock_controlplane.quotas import accounts, leases

log = logging.getLogger(__name__)


class QuotaWatch:
    """What was found at the last look."""

    def __init__(self) -> None:
        self.drift = 0

    async def look(self, database: Database, *, seconds: float) -> None:
        """Take back old leases, set every budget to what the ledger shows, drop accounts that nobody uses."""
        await leases.take_back(database, seconds=seconds)
        self.drift = await database.run(EVERYTHING, accounts.rebuild)
        if self.drift:
            log.error("accounts of limits differed from the ledger and were corrected", extra={"units": self.drift})
        await database.run(EVERYTHING, accounts.clear)

    def expose(self, meter: Meter) -> None:
        """Show the drift as a metric."""

        def observe(_: CallbackOptions) -> Iterable[Observation]:
            return [Observation(self.drift)]

        meter.create_observable_gauge(
            "paddock.quota.drift", callbacks=[observe], description="Units by which accounts differed from the ledger"
        )
