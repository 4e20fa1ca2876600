"""Issuing monthly statements. Each row of a tenant is in exactly one of them.

The first statement holds the rows of its month that arrived before it was issued. Each later one holds every row of its
month or earlier that arrived before it was issued and is in none before: so what came late, and every correction, is in
the next statement, and one that was handed out never changes.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from paddock_core.usage.row import LedgerRow
from paddock_core.usage.statements import Signed, StatementError, Tally, digest, month_bounds, signature
from sqlalchemy import ColumnElement, and_, not_, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from paddock_controlplane.audit.service import Event, record
from paddock_controlplane.billing.errors import (
    LedgerBroken,
    MonthInvalid,
    MonthNotOver,
    StatementExists,
    StatementUnknown,
)
from paddock_controlplane.billing.models import StatementRow
from paddock_controlplane.ids import new_id
from paddock_controlplane.prices import book
from paddock_controlplane.prices.models import PriceRow
from paddock_controlplane.tenants import service as tenants
from paddock_controlplane.usage import clock
from paddock_controlplane.usage.rows import TABLE, chosen, row_of

_PAGE = 2000
_ONE_AT_A_TIME = text("SELECT pg_advisory_xact_lock(hashtextextended('statement:' || :tenant, 0))")


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Which rows a statement is about. Times are Unix seconds."""

    tenant: str
    start: float
    end: float
    until_arrival: int
    previous_end: float | None
    previous_arrival: int

    def condition(self) -> ColumnElement[bool]:
        """The same for the database."""
        own = and_(TABLE.c.tenant == self.tenant, TABLE.c.t_admit < self.end, TABLE.c.arrival < self.until_arrival)
        if self.previous_end is None:
            return and_(own, TABLE.c.t_admit >= self.start)
        told = and_(TABLE.c.t_admit < self.previous_end, TABLE.c.arrival < self.previous_arrival)
        return and_(own, not_(told))


async def issue(session: AsyncSession, *, tenant: str, month: str, key: bytes, actor: str) -> Signed:
    """Add up a month and sign it; a month that has its statement keeps it.

    Raises:
        TenantUnknown: there is no such tenant.
        MonthInvalid, MonthNotOver: it is no month of the past.
        StatementExists: a later month was stated already.
        LedgerBroken: a row's cost is not its tokens' price.
    """
    await tenants.find(session, tenant)
    _bounds_of_past(month)
    await session.execute(_ONE_AT_A_TIME, {"tenant": tenant})
    known = await session.scalar(select(StatementRow).where(StatementRow.tenant == tenant, StatementRow.month == month))
    if known is not None:
        return signed_of(known)
    previous = await _newest(session, tenant)
    if previous is not None and previous.month > month:
        raise StatementExists(
            f"{previous.month} was stated already: what came later for {month} is in the next statement"
        )
    span = await _span(session, tenant, month, previous)
    prices = {row.id: book.price_of(row) for row in await session.scalars(select(PriceRow))}
    tally = Tally(prices)
    try:
        async for rows in pages(session, span):
            tally.add(rows)
    except StatementError as error:
        raise LedgerBroken(f"{error}: compare it with the database's backups") from error
    statement = tally.statement(
        tenant=tenant,
        month=month,
        after_arrival=span.previous_arrival,
        until_arrival=span.until_arrival,
        previous=previous.digest if previous else None,
    )
    return await _keep(
        session, statement.text(), tenant=tenant, month=month, until=span.until_arrival, key=key, actor=actor
    )


async def pages(session: AsyncSession, span: Span, *, after: str = "") -> AsyncIterator[list[LedgerRow]]:
    """The statement's rows in the order of their ids, some at a time."""
    query = chosen().where(span.condition()).order_by(TABLE.c.usage_id).limit(_PAGE)
    while True:
        found = await session.execute(query.where(TABLE.c.usage_id > UUID(after)) if after else query)
        rows = [row_of(item) for item in found]
        if rows:
            yield rows
            after = rows[-1].usage_id
        if len(rows) < _PAGE:
            return


async def rows_of(session: AsyncSession, statement_id: str, *, after: str, limit: int) -> list[LedgerRow]:
    """The rows that a statement adds up, one more than `limit` if there are more.

    Raises:
        StatementUnknown: the caller sees no such statement.
    """
    row = await _find(session, statement_id)
    previous = await session.scalar(
        select(StatementRow)
        .where(StatementRow.tenant == row.tenant, StatementRow.month < row.month)
        .order_by(StatementRow.month.desc())
        .limit(1)
    )
    span = _span_until(row.tenant, row.month, previous, row.until_arrival)
    query = chosen().where(span.condition()).order_by(TABLE.c.usage_id).limit(limit + 1)
    found = await session.execute(query.where(TABLE.c.usage_id > UUID(after)) if after else query)
    return [row_of(item) for item in found]


async def find(session: AsyncSession, statement_id: str) -> Signed:
    """One statement.

    Raises:
        StatementUnknown: the caller sees no such statement.
    """
    return signed_of(await _find(session, statement_id))


async def list_statements(session: AsyncSession, *, tenant: str | None, after: str, limit: int) -> list[Signed]:
    """Statements in the order of their ids, one more than `limit` if there are more."""
    query = select(StatementRow).where(StatementRow.id > after).order_by(StatementRow.id).limit(limit + 1)
    if tenant is not None:
        query = query.where(StatementRow.tenant == tenant)
    return [signed_of(row) for row in await session.scalars(query)]


def signed_of(row: StatementRow) -> Signed:
    """The statement as it is handed out."""
    return Signed(
        id=row.id,
        tenant=row.tenant,
        month=row.month,
        document=row.document,
        digest=row.digest,
        signature=row.signature,
        at=row.at.timestamp(),
    )


async def _keep(
    session: AsyncSession, document: str, *, tenant: str, month: str, until: int, key: bytes, actor: str
) -> Signed:
    told = digest(document)
    row = StatementRow(
        id=new_id("stm"),
        tenant=tenant,
        month=month,
        until_arrival=until,
        document=document,
        digest=told,
        signature=signature(key=key, digest=told),
        at=datetime.now(UTC),
    )
    session.add(row)
    detail = {"month": month, "digest": told}
    await session.flush()
    await record(session, Event(actor=actor, action="statement.issue", subject=row.id, tenant=tenant, detail=detail))
    return signed_of(row)


async def _newest(session: AsyncSession, tenant: str) -> StatementRow | None:
    return await session.scalar(
        select(StatementRow).where(StatementRow.tenant == tenant).order_by(StatementRow.month.desc()).limit(1)
    )


async def _find(session: AsyncSession, statement_id: str) -> StatementRow:
    row = await session.get(StatementRow, statement_id)
    if row is None:
        raise StatementUnknown(f"no statement {statement_id}: `paddock statement list` shows them")
    return row


async def _span(session: AsyncSession, tenant: str, month: str, previous: StatementRow | None) -> Span:
    return _span_until(tenant, month, previous, await clock.horizon(session))


def _span_until(tenant: str, month: str, previous: StatementRow | None, until: int) -> Span:
    start, end = month_bounds(month)
    return Span(
        tenant=tenant,
        start=start,
        end=end,
        until_arrival=until,
        previous_end=month_bounds(previous.month)[1] if previous else None,
        previous_arrival=previous.until_arrival if previous else 0,
    )


def _bounds_of_past(month: str) -> None:
    try:
        _, end = month_bounds(month)
    except ValueError as error:
        raise MonthInvalid(f"{month[:20]!r} is no month: write 2026-11") from error
    if end > datetime.now(UTC).timestamp():
        raise MonthNotOver(f"{month} is not over: its statement can be issued from the first of the next month on")
