"""Reading the rows of the ledger."""

from dataclasses import fields
from typing import Any
from uuid import UUID

from paddock_core.usage.row import LedgerRow
from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from paddock_controlplane.usage.models import UsageRow

TABLE = UsageRow.__table__
_NAMES = tuple(field.name for field in fields(LedgerRow))


def chosen() -> Select[Any]:
    """All columns of a row, without the cost of mapped objects."""
    return select(*(TABLE.c[name] for name in _NAMES))


def row_of(found: Any) -> LedgerRow:
    """The row as core knows it."""
    values = dict(zip(_NAMES, found, strict=True))
    values["usage_id"] = str(values["usage_id"])
    values["corrects"] = str(values["corrects"]) if values["corrects"] else None
    values["ingested_at"] = values["ingested_at"].timestamp()
    return LedgerRow(**values)


async def rows(session: AsyncSession, *, tenant: str | None, after: str, limit: int) -> list[LedgerRow]:
    """Rows in the order of their ids, one more than `limit` if there are more."""
    query = chosen().order_by(TABLE.c.usage_id).limit(limit + 1)
    if tenant is not None:
        query = query.where(TABLE.c.tenant == tenant)
    if after:
        query = query.where(TABLE.c.usage_id > UUID(after))
    return [row_of(found) for found in await session.execute(query)]


async def find(session: AsyncSession, usage_id: UUID) -> list[LedgerRow]:
    """A row and then its corrections; nothing if there is no such row."""
    own = await session.execute(chosen().where(TABLE.c.usage_id == usage_id))
    later = await session.execute(chosen().where(TABLE.c.corrects == usage_id).order_by(TABLE.c.usage_id))
    first = [row_of(found) for found in own]
    return first + [row_of(found) for found in later] if first else []
