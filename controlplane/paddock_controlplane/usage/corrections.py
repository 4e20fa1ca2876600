"""Correcting a row by another one. What was entered is never changed."""

import os
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from paddock_core.usage.identifiers import RANDOM_BYTES, uuid7
from paddock_core.usage.prices import cost_of
from paddock_core.usage.row import LedgerRow
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from paddock_controlplane.audit.service import Event, record
from paddock_controlplane.prices import service as prices
from paddock_controlplane.usage import rollups, rows
from paddock_controlplane.usage.errors import CorrectionRefused, RecordUnknown

_COUNTS = ("input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens")
_NAMES = tuple(field.name for field in fields(LedgerRow) if field.name not in ("arrival", "ingested_at"))
_ENTER = text(
    f"WITH entered AS (INSERT INTO usage ({', '.join(_NAMES)}, arrival)"  # noqa: S608 - columns' names
    f" VALUES ({', '.join(':' + name for name in _NAMES)}, paddock_usage_arrival()) RETURNING {rollups.SOURCE}"
    f"), summed AS ({rollups.add('entered')}) SELECT count(*) FROM entered"
)
_ONE_AT_A_TIME = text("SELECT pg_advisory_xact_lock(hashtextextended('correct:' || :usage_id, 0))")


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What should have been in the ledger; None leaves a figure as it is now, corrections included."""

    usage_id: UUID
    reason: str
    input_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    price_id: str | None = None
    """An entry of the price book by which the row should have been charged."""
    cost_nano: int | None = None
    """What it should have cost in the end, whatever the price; a credit, for one."""


async def correct(session: AsyncSession, *, truth: Truth, actor: str) -> LedgerRow:
    """Enter the row that makes the ledger say so. It counts in the hour, and the statement, of today.

    Raises:
        RecordUnknown: there is no such row.
        CorrectionRefused: it is a correction itself, nothing would change, or the figures cannot be.
    """
    await session.execute(_ONE_AT_A_TIME, {"usage_id": str(truth.usage_id)})
    found = await rows.find(session, truth.usage_id)
    if not found:
        raise RecordUnknown(f"no row {truth.usage_id}, or its day is no longer kept")
    if found[0].corrects is not None:
        raise CorrectionRefused(f"this is a correction of {found[0].corrects}: correct that one once more")
    now = _added_up(found)
    wanted = await _wanted(session, now, truth)
    difference = _difference(now, wanted, truth)
    await session.execute(_ENTER, {name: _value(difference, name) for name in _NAMES})
    detail = {name: getattr(difference, name) for name in (*_COUNTS, "cost_nano", "price_id", "reason")}
    subject = str(truth.usage_id)
    await record(
        session,
        Event(actor=actor, action="usage.correct", subject=subject, tenant=difference.tenant, detail=detail),
    )
    return (await rows.find(session, truth.usage_id))[-1]


def _added_up(found: list[LedgerRow]) -> LedgerRow:
    """The row as its corrections leave it."""
    counts = {name: sum(getattr(row, name) for row in found) for name in _COUNTS}
    priced = [row for row in found if row.cost_nano is not None]
    if not priced:
        return replace(found[0], **counts)
    cost = sum(row.cost_nano or 0 for row in priced)
    return replace(found[0], **counts, price_id=priced[-1].price_id, currency=priced[-1].currency, cost_nano=cost)


async def _wanted(session: AsyncSession, now: LedgerRow, truth: Truth) -> LedgerRow:
    """The row as it should have been."""
    given = {name: getattr(truth, name) for name in _COUNTS if getattr(truth, name) is not None}
    wanted = replace(now, **given)
    if (
        wanted.cache_read_tokens + wanted.cache_write_tokens > wanted.input_tokens
        or wanted.reasoning_tokens > wanted.output_tokens
    ):
        raise CorrectionRefused("cached tokens are part of the input, reasoning tokens part of the output")
    price_id = truth.price_id or now.price_id
    if price_id is None:
        if truth.cost_nano is not None:
            raise CorrectionRefused("the row has no price, so no currency: name a price_id too")
        return wanted
    price = (await prices.prices_by_id(session, {price_id})).get(price_id)
    if price is None or price.prices is None:
        raise CorrectionRefused(f"no price {price_id}: `paddock price list` shows them")
    if now.currency not in (None, price.currency):
        raise CorrectionRefused(f"the row was charged in {now.currency}, this price is in {price.currency}")
    cost = cost_of(wanted, price.prices) if truth.cost_nano is None else truth.cost_nano
    return replace(wanted, price_id=price_id, currency=price.currency, cost_nano=cost)


def _difference(now: LedgerRow, wanted: LedgerRow, truth: Truth) -> LedgerRow:
    counts = {name: getattr(wanted, name) - getattr(now, name) for name in _COUNTS}
    cost = None if wanted.cost_nano is None else wanted.cost_nano - (now.cost_nano or 0)
    if not any(counts.values()) and wanted.cost_nano == now.cost_nano:
        raise CorrectionRefused("the ledger says so already")
    at = datetime.now(UTC).timestamp()
    return replace(
        wanted,
        **counts,
        usage_id=uuid7(unix_ms=int(at * 1000), random=os.urandom(RANDOM_BYTES)),
        t_admit=at,
        t_first_token=None,
        t_end=at,
        reserved_tokens=0,
        output_tokens_engine=None,
        output_tokens_sent=0,
        cost_nano=cost,
        corrects=str(truth.usage_id),
        reason=truth.reason,
        gateway_instance="controlplane",
        journal_seq=0,
    )


def _value(row: LedgerRow, name: str) -> Any:
    value = getattr(row, name)
    return UUID(value) if name in ("usage_id", "corrects") else value
