"""The ledger's days: their partitions are made ahead and on demand, and go when what is in them is no longer kept."""

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from paddock_controlplane.db import EVERYTHING, Database
from paddock_controlplane.usage.errors import RecordTooOld

_DAYS_AHEAD = 3
_EPOCH = date(1970, 1, 1)

_DAYS = text(
    "SELECT inhrelid::regclass::text FROM pg_inherits"
    " WHERE inhparent = 'usage'::regclass AND inhrelid::regclass::text ~ '^usage_[0-9]{8}$'"
)
_GONE = text("SELECT paddock_usage_days_gone(CAST(:days AS int[]))")


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
                raise _too_old(f"rows of {day}")
            if day >= oldest:  # an older day may be retired at any time, so it is asked for each time
                self._known.add(day)

    async def ensure_ahead(self, database: Database) -> None:
        """Make today's partition and those of the next days."""
        today = _today()
        await self.ensure(database, (today + timedelta(days=offset) for offset in range(_DAYS_AHEAD + 1)))

    def days_of(self, records: Sequence[Any]) -> tuple[set[date], list[int]]:
        """The days of the records' ids that have partitions, from some years ago to a few days ahead; and the numbers
        (from 1970) of the days that may be retired, or lie in the partition for all others.

        An id of no near day goes to that one, so that no row is refused for a wrong clock.
        """
        today = _today()
        kept = (today - self._retention - _EPOCH).days
        earliest, latest = kept - 400, (today - _EPOCH).days + _DAYS_AHEAD
        numbers = {(record.usage_id.int >> 80) // 86_400_000 for record in records}
        near = {_EPOCH + timedelta(days=number) for number in numbers if earliest <= number <= latest}
        return near, [number for number in numbers if not kept < number <= latest]

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
        async with database.transaction(EVERYTHING) as session:
            apart = await session.execute(select(func.paddock_usage_retire_apart(horizon)))
            gone += int(apart.scalar_one())
        return gone


async def check_kept(session: AsyncSession, days: Sequence[int]) -> None:
    """Call it after rows of these days (numbers from 1970) were inserted, in the same transaction: a day cannot be
    retired between this look and the end of the transaction.

    Raises:
        RecordTooOld: one of the days is no longer kept.
    """
    if days and (await session.execute(_GONE, {"days": list(days)})).scalar_one():
        raise _too_old("rows of one of these days")


def _too_old(what: str) -> RecordTooOld:
    return RecordTooOld(
        f"{what} are no longer kept, so a row that comes now could not be told from one that was counted already: "
        "keep it aside and settle it with the tenant by a correction"
    )


def _today() -> date:
    return datetime.now(UTC).date()
