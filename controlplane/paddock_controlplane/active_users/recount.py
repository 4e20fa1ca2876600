"""Counting the users of a day from the ledger, whose rows carry the keyed hash of each.

For what sketches cannot bring back: a gateway's journal that was lost with its disk, or a sketch that was refused. A
union with what is there takes nobody away, so it may be run at any time, and again.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from paddock_core.active_users.sketch import Sketch, user_bits
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from paddock_controlplane.active_users import intake
from paddock_controlplane.db import EVERYTHING, Database
from paddock_controlplane.usage.models import UsageRow

PAGE = 20_000
_HASH = "^[0-9a-f]{16}"
_EPOCH = date(1970, 1, 1)
_DAY_MILLISECONDS = 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Recounted:
    """How many rows of the ledger named a user, and in how many sketches somebody was missing."""

    rows: int
    mended: int


async def run(dsn: str, day: date) -> Recounted:
    """Recount a day in UTC.

    Raises:
        DatabaseUnavailable: the database cannot be reached.
    """
    database = Database(dsn=dsn, pool_size=2)
    try:
        return await recount(database, day)
    finally:
        await database.close()


async def recount(database: Database, day: date, *, page: int = PAGE) -> Recounted:
    """Read the day's rows, `page` at a time, then unite a sketch a tenant and product with what is there."""
    sketches: dict[tuple[str, str], Sketch] = defaultdict(Sketch)
    rows, after, end = 0, _first_id(day), _first_id(day + timedelta(days=1))
    while found := await database.run(EVERYTHING, partial(_rows, after=after, end=end, limit=page)):
        for row in found:
            sketches[row.tenant, row.deployment].add(user_bits(row.end_user_hash))
        rows, after = rows + len(found), found[-1].usage_id
    mended = 0
    for (tenant, product), sketch in sorted(sketches.items(), key=lambda item: item[0]):
        work = partial(intake.unite, tenant=tenant, product=product, day=day, registers=sketch.registers())
        mended += await database.run(EVERYTHING, work)
    return Recounted(rows=rows, mended=mended)


def _first_id(day: date) -> UUID:
    """Ids begin with the 48 bits of their milliseconds: none of the day lies below this one."""
    return UUID(int=((day - _EPOCH).days * _DAY_MILLISECONDS) << 80)


async def _rows(session: AsyncSession, *, after: UUID, end: UUID, limit: int) -> Sequence[Any]:
    found = await session.execute(
        select(UsageRow.usage_id, UsageRow.tenant, UsageRow.deployment, UsageRow.end_user_hash)
        .where(UsageRow.usage_id > after, UsageRow.usage_id < end)
        .where(UsageRow.end_user_hash.regexp_match(_HASH), UsageRow.corrects.is_(None))
        .order_by(UsageRow.usage_id)
        .limit(limit)
    )
    return found.all()
