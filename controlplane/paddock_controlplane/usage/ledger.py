"""Writing the ledger: each usage id exactly once, and the roll-up from what was really inserted.

A batch is copied into a temporary table, inserted from there with `ON CONFLICT DO NOTHING RETURNING`, and the returned
rows alone are added to the hours: all one transaction, so a batch that is sent twice changes nothing.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from paddock_core.usage.record import UsageRecord
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from paddock_controlplane.db import EVERYTHING, Database
from paddock_controlplane.usage.errors import RecordInvalid

MOST_RECORDS = 10_000
"""Records in one batch."""
_DAYS_AHEAD = 3
_DAYS_BACK = 40
"""Days around today for which partitions are made; ids outside go to the partition for all others."""

_COLUMNS = tuple(field.name for field in fields(UsageRecord))
_NAMES = ", ".join(_COLUMNS)
_STAGE = text(
    "CREATE TEMPORARY TABLE IF NOT EXISTS usage_staging (LIKE usage INCLUDING DEFAULTS) ON COMMIT DELETE ROWS"
)
_ENTER = text(
    f"WITH entered AS ("  # noqa: S608 - names of columns, from the code
    f"  INSERT INTO usage ({_NAMES}) SELECT {_NAMES} FROM usage_staging ORDER BY usage_id"
    f"  ON CONFLICT (usage_id) DO NOTHING"
    f"  RETURNING tenant, model, deployment, key_id, t_admit, input_tokens, output_tokens, usage_source"
    f"), summed AS ("
    f"  INSERT INTO usage_hour AS hour"
    f"  (tenant, hour, model, deployment, key_id, requests, input_tokens, output_tokens, inexact_requests)"
    f"  SELECT tenant, to_timestamp(floor(t_admit / 3600) * 3600), model, deployment, key_id,"
    f"   count(*), sum(input_tokens), sum(output_tokens), count(*) FILTER (WHERE usage_source <> 'exact')"
    f"  FROM entered GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5"
    f"  ON CONFLICT (tenant, hour, model, deployment, key_id) DO UPDATE SET"
    f"   requests = hour.requests + excluded.requests,"
    f"   input_tokens = hour.input_tokens + excluded.input_tokens,"
    f"   output_tokens = hour.output_tokens + excluded.output_tokens,"
    f"   inexact_requests = hour.inexact_requests + excluded.inexact_requests"
    f") SELECT count(*) FROM entered"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingested:
    """What became of a batch."""

    accepted: int
    duplicates: int


class Partitions:
    """The days whose partitions this process knows to be there."""

    def __init__(self) -> None:
        self._known: set[date] = set()

    async def ensure(self, database: Database, days: Iterable[date]) -> None:
        """Make what is missing, each day in a transaction of its own, since that locks the whole ledger shortly."""
        for day in sorted(set(days) - self._known):
            async with database.transaction(EVERYTHING) as session:
                await session.execute(select(func.paddock_usage_partition(day)))
            self._known.add(day)

    async def ensure_ahead(self, database: Database) -> None:
        """Make today's partition and those of the next days."""
        today = datetime.now(UTC).date()
        await self.ensure(database, (today + timedelta(days=offset) for offset in range(_DAYS_AHEAD + 1)))


def days_of(records: Sequence[UsageRecord], *, today: date) -> set[date]:
    """The days of the records' ids, as far as they lie near today.

    Raises:
        RecordInvalid: an id is not a UUID.
    """
    earliest, latest = today - timedelta(days=_DAYS_BACK), today + timedelta(days=_DAYS_AHEAD)
    days = set()
    for record in records:
        milliseconds = _uuid(record.usage_id).int >> 80
        if milliseconds < 253_402_300_800_000:  # the year 10000: beyond it there are no dates
            days.add(datetime.fromtimestamp(milliseconds / 1000, UTC).date())
    return {day for day in days if earliest <= day <= latest}


async def enter(session: AsyncSession, records: Sequence[UsageRecord]) -> Ingested:
    """Enter a batch; records that are there already are counted, not changed.

    Raises:
        RecordInvalid: a record does not fit, none is entered.
    """
    if not records:
        return Ingested(accepted=0, duplicates=0)
    rows = [_row(record) for record in records]
    await session.execute(_STAGE)
    connection = await session.connection()
    driver = (await connection.get_raw_connection()).driver_connection
    if driver is None:
        raise AssertionError("a session in a transaction has a connection")
    await driver.copy_records_to_table("usage_staging", records=rows, columns=_COLUMNS, schema_name="pg_temp")
    accepted = int((await session.execute(_ENTER)).scalar_one())
    return Ingested(accepted=accepted, duplicates=len(rows) - accepted)


def _row(record: UsageRecord) -> tuple[Any, ...]:
    values = msgspec.to_builtins(record)
    values["usage_id"] = _uuid(record.usage_id)
    for name, value in values.items():
        if isinstance(value, str) and "\x00" in value:
            raise RecordInvalid(f"record {record.usage_id}: {name} holds a NUL character")
        if isinstance(value, float) and not math.isfinite(value):
            raise RecordInvalid(f"record {record.usage_id}: {name} is not a finite number")
        if isinstance(value, int) and not isinstance(value, bool) and not 0 <= value < 2**63:
            raise RecordInvalid(f"record {record.usage_id}: {name} is out of bounds")
    return tuple(values[name] for name in _COLUMNS)


def _uuid(text_id: str) -> UUID:
    try:
        return UUID(text_id)
    except ValueError as error:
        raise RecordInvalid(f"usage_id {text_id[:60]!r} is not a UUID") from error
