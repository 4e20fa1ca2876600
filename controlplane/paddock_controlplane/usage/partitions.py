"""The ledger's days: their partitions are made ahead and on demand, and go when what is in them is no longer kept."""

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import func, select, text

from paddock_controlplane.db import EVERYTHING, Database
from paddock_controlplane.usage.errors import RecordTooOld

_DAYS_AHEAD = 3
_LAST_MILLISECOND = 253_402_300_800_000
"""The year 10000: beyond it there are no dates."""

_DAYS = text(
    "SELECT inhrelid::regclass::text FROM pg_inherits"
    " WHERE inhparent = 'usage'::regclass AND inhrelid::regclass::text ~ '^usage_[0-9]{8}$'"
)


class Partitions:
    """The days whose partitions this process knows to be there."""

    def __init__(self, *, retention_days: float = 400) -> None:
        self._retention = timedelta(days=retention_days)
        self._known: set[date] = set()

    async def ensure(self, database: Database, days: Iterable[date]) -> None:
        """Make what is missing, each day in a transaction of its own, since that locks the whole ledger shortly.

        Raises:
            RecordTooOld: one of the days is no longer kept.
        """
        oldest = _today() - self._retention
        for day in sorted(set(days) - self._known):
            async with database.transaction(EVERYTHING) as session:
                there = (await session.execute(select(func.paddock_usage_partition(day)))).scalar_one()
            if there is None:
                raise RecordTooOld(
                    f"rows of {day} are no longer kept, so a row that comes now could not be told from one that was "
                    "counted already: keep it aside and settle it with the tenant by a correction"
                )
            if day >= oldest:  # an older day may be retired at any time, so it is asked for each time
                self._known.add(day)

    async def ensure_ahead(self, database: Database) -> None:
        """Make today's partition and those of the next days."""
        today = _today()
        await self.ensure(database, (today + timedelta(days=offset) for offset in range(_DAYS_AHEAD + 1)))

    def days_of(self, records: Sequence[Any]) -> set[date]:
        """The days of the records' ids that have partitions: from some years ago to a few days ahead.

        An id outside of them goes to the partition for all others, so that no row is refused for a wrong clock.
        """
        earliest, latest = _today() - self._retention - timedelta(days=400), _today() + timedelta(days=_DAYS_AHEAD)
        milliseconds = {(record.usage_id.int >> 80) // 86_400_000 for record in records}
        days = {
            datetime.fromtimestamp(number * 86_400, UTC).date()
            for number in milliseconds
            if number * 86_400_000 < _LAST_MILLISECOND
        }
        return {day for day in days if earliest <= day <= latest}

    async def retire(self, database: Database) -> int:
        """Drop the days whose last row arrived longer ago than rows are kept. Answers the number of rows that went."""
        horizon = datetime.now(UTC) - self._retention
        async with database.transaction(EVERYTHING) as session:
            names = await session.scalars(_DAYS)
            days = [datetime.strptime(name[-8:], "%Y%m%d").replace(tzinfo=UTC).date() for name in names]
        gone = 0
        for day in sorted(day for day in days if day < horizon.date()):
            async with database.transaction(EVERYTHING) as session:
                gone += (await session.execute(select(func.paddock_usage_retire(day, horizon)))).scalar_one() or 0
            self._known.discard(day)
        return gone


def _today() -> date:
    return datetime.now(UTC).date()
