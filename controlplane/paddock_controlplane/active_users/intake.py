"""Taking sketches from gateways: each united with its day and its month in a transaction of its own.

A union is idempotent, so a sketch that is sent again, or that two gateways share users in, doubles nobody. One that is
not understood is refused by its place in the batch; the others are taken.
"""

import logging
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from functools import partial

from paddock_core.active_users.documents import DaySketch, Refused, Taken, month_of
from paddock_core.active_users.errors import SketchInvalidError
from paddock_core.active_users.sketch import decode, encode, merge
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from paddock_controlplane.active_users.models import UsersDayRow, UsersMonthRow, UsersRow
from paddock_controlplane.db import EVERYTHING, Database
from paddock_controlplane.tenants.models import TenantRow

log = logging.getLogger(__name__)

_TENANT = re.compile(r"[a-z0-9-]{1,40}")
_PRODUCT = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}/[a-z0-9][a-z0-9.-]{0,252}")
OLDEST_DAYS = 400
"""A gateway that was away for longer is not believed its clock."""


async def take(database: Database, sketches: Sequence[DaySketch], *, today: date) -> Taken:
    """Unite sketches with what is there."""
    known = await database.run(EVERYTHING, lambda session: _tenants(session, {item.tenant for item in sketches}))
    merged, refused = 0, []
    for index, item in enumerate(sketches):
        try:
            day, registers = _day(item, known, today), decode(item.sketch)
            work = partial(unite, tenant=item.tenant, product=item.product, day=day, registers=registers)
            merged += await database.run(EVERYTHING, work)
        except SketchInvalidError as error:
            log.warning("a sketch of active users was refused", extra={"index": index, "reason": str(error)})
            refused.append(Refused(index=index, reason=str(error)))
    return Taken(merged=merged, unchanged=len(sketches) - merged - len(refused), refused=refused)


async def unite(session: AsyncSession, *, tenant: str, product: str, day: date, registers: bytes) -> bool:
    """Add a day's users to the day and, where that brought somebody new, to the month. True if it did.

    Raises:
        SketchInvalidError: what is stored is damaged.
    """
    place = {"tenant": tenant, "product": product}
    if not await _unite(session, UsersDayRow, {**place, "day": day}, registers):
        return False
    await _unite(session, UsersMonthRow, {**place, "month": month_of(day.isoformat())}, registers)
    return True


async def _unite(session: AsyncSession, table: type[UsersRow], key: dict[str, object], registers: bytes) -> bool:
    entered = await session.execute(
        insert(table).values(**key, sketch=encode(registers)).on_conflict_do_nothing().returning(table.tenant)
    )
    if entered.first() is not None:
        return True
    row = (await session.scalars(select(table).filter_by(**key).with_for_update())).one()
    stored = decode(row.sketch)
    united = merge(stored, registers)
    if united == stored:
        return False
    row.sketch = encode(united)
    await session.flush()
    return True


async def _tenants(session: AsyncSession, ids: set[str]) -> set[str]:
    """Those that there are. PostgreSQL takes no NUL, so what cannot be an id is not asked for."""
    possible = [name for name in ids if _TENANT.fullmatch(name)]
    return set(await session.scalars(select(TenantRow.id).where(TenantRow.id.in_(possible))))


def _day(item: DaySketch, known: set[str], today: date) -> date:
    """The day, if tenant, product and day can be."""
    if item.tenant not in known:
        raise SketchInvalidError(f"there is no tenant {item.tenant[:60]!r}")
    if _PRODUCT.fullmatch(item.product) is None:
        raise SketchInvalidError(f"{item.product[:60]!r} is no product: `<namespace>/<name>` of a deployment is")
    try:
        day = datetime.strptime(item.day, "%Y-%m-%d").replace(tzinfo=UTC).date()
    except ValueError as error:
        raise SketchInvalidError(f"{item.day[:60]!r} is no day: write YYYY-MM-DD") from error
    if not today - timedelta(days=OLDEST_DAYS) <= day <= today + timedelta(days=1):
        raise SketchInvalidError(f"{item.day} is not near today, {today}: check the gateway's clock")
    return day
