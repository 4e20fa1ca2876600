"""The rows as a stream of CloudEvents, in the order of their arrival: a reader that keeps its cursor misses none."""

import re
from uuid import UUID

import msgspec
from paddock_core.usage.events import cloud_event
from paddock_core.usage.row import LedgerRow
from sqlalchemy import tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from paddock_controlplane.usage import clock
from paddock_controlplane.usage.errors import CursorInvalid
from paddock_controlplane.usage.rows import TABLE, chosen, row_of

_CURSOR = re.compile(r"([0-9]{1,18})\.([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})")
MEDIA_TYPE = "application/x-ndjson"


async def page(session: AsyncSession, *, tenant: str | None, cursor: str, limit: int) -> bytes:
    """Up to `limit` events after the cursor, one a line.

    Raises:
        CursorInvalid: it is no cursor of an event.
    """
    encode = msgspec.json.Encoder().encode
    found = await rows_after(session, tenant=tenant, cursor=cursor, limit=limit)
    return b"".join(encode(cloud_event(row)) + b"\n" for row in found)


async def rows_after(session: AsyncSession, *, tenant: str | None, cursor: str, limit: int) -> list[LedgerRow]:
    """Up to `limit` rows that arrived after the cursor, in the order of their arrival.

    Raises:
        CursorInvalid: it is no cursor of an event.
    """
    query = chosen().where(TABLE.c.arrival < await clock.horizon(session))
    if tenant is not None:
        query = query.where(TABLE.c.tenant == tenant)
    if cursor:
        arrival, usage_id = _parsed(cursor)
        # The first condition is implied by the second; it is what the index on arrivals can use.
        query = query.where(TABLE.c.arrival >= arrival)
        query = query.where(tuple_(TABLE.c.arrival, TABLE.c.usage_id) > tuple_(arrival, usage_id))
    found = await session.execute(query.order_by(TABLE.c.arrival, TABLE.c.usage_id).limit(limit))
    return [row_of(item) for item in found]


def _parsed(cursor: str) -> tuple[int, UUID]:
    found = _CURSOR.fullmatch(cursor)
    if found is None:
        raise CursorInvalid(f"{cursor[:80]!r}: take the `cursor` of the last event that you have, or none")
    return int(found.group(1)), UUID(found.group(2))
