"""Writing the ledger: each usage id exactly once, and the roll-up from what was really inserted.

A batch is copied into a temporary table, inserted from there with `ON CONFLICT DO NOTHING RETURNING`, and the returned
rows alone are added to the hours: all one transaction, so a batch that is sent twice changes nothing. Rows are inserted
and hours updated in the order of their keys, so that two batches do not wait for each other; where PostgreSQL breaks a
deadlock all the same, `Database.run` does the whole batch again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from paddock_core.usage.prices import PriceBook, cost_of
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from paddock_controlplane.prices.book import Prices
from paddock_controlplane.usage import rollups, wire
from paddock_controlplane.usage.errors import RecordInvalid
from paddock_controlplane.usage.partitions import check_kept

COLUMNS = (*wire.NAMES, "price_id", "currency", "cost_nano")
"""What is copied; the rest is filled in by the database."""
_NAMES = ", ".join(COLUMNS)
_STAGE = text(
    "CREATE TEMPORARY TABLE IF NOT EXISTS usage_staging (LIKE usage INCLUDING DEFAULTS) ON COMMIT DELETE ROWS"
)
_ENTER = text(
    f"WITH arrived AS MATERIALIZED (SELECT paddock_usage_arrival() AS arrival),"  # noqa: S608 - columns' names
    f" entered AS ("
    f"  INSERT INTO usage ({_NAMES}, arrival) SELECT {_NAMES}, (SELECT arrival FROM arrived) FROM usage_staging"
    f"  ORDER BY usage_id ON CONFLICT (usage_id) DO NOTHING RETURNING {rollups.SOURCE}"
    f"), summed AS ({rollups.add('entered')})"
    f" SELECT count(*), count(*) FILTER (WHERE usage_source = 'counted'),"
    f" count(*) FILTER (WHERE usage_source = 'bounded'), count(*) FILTER (WHERE currency IS NULL) FROM entered"
)
_values = attrgetter(*wire.NAMES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ingested:
    """What became of a batch."""

    accepted: int
    duplicates: int
    counted: int = 0
    """Of the accepted: not backed by the engine's own final count."""
    bounded: int = 0
    """Of the accepted: known only to the last checkpoint."""
    unpriced: int = 0
    """Of the accepted: there was no price when the request was admitted."""


async def enter(
    session: AsyncSession, records: Sequence[Any], *, prices: Prices, old_days: Sequence[int] = ()
) -> Ingested:
    """Enter a batch (`wire.decode`); records that are there already are counted, not changed.

    Raises:
        RecordInvalid: a record does not fit, none is entered.
        RecordTooOld: one of `old_days` (`Partitions.days_of`) is no longer kept, none is entered.
    """
    if not records:
        return Ingested(accepted=0, duplicates=0)
    book = await prices.current(session)
    await session.execute(_STAGE)
    connection = await session.connection()
    driver = (await connection.get_raw_connection()).driver_connection
    if driver is None:
        raise AssertionError("a session in a transaction has a connection")
    await driver.copy_records_to_table(
        "usage_staging", records=rows_of(records, book), columns=COLUMNS, schema_name="pg_temp"
    )
    try:
        accepted, counted, bounded, unpriced = (await session.execute(_ENTER)).one()
    except IntegrityError as error:
        raise RecordInvalid(
            "a record's cached tokens are more than its input, or its reasoning tokens more than its output"
        ) from error
    await check_kept(session, old_days)
    return Ingested(
        accepted=accepted,
        duplicates=len(records) - accepted,
        counted=counted,
        bounded=bounded,
        unpriced=unpriced,
    )


def rows_of(records: Sequence[Any], book: PriceBook) -> Iterator[tuple[Any, ...]]:
    """The rows to copy, each with the price that held when its request was admitted."""
    for record in records:
        tariff = book.at(tenant=record.tenant, deployment=record.deployment, model=record.model, moment=record.t_admit)
        if tariff is None:
            yield (*_values(record), None, None, None)
        else:
            yield (*_values(record), tariff.id, tariff.currency, cost_of(record, tariff.prices))
