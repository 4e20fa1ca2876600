"""Decisions that denied, in the audit log: counted by the hour, so that a flood of them cannot fill it.

The first denial of a kind (who, as what, doing what, with which model, why) in an hour is an entry at once; when the
hour is over, a second entry says how many there were, if there were more. At most `MOST_KINDS` kinds are told apart in
an hour, whatever is asked; the rest is one more kind.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from paddock_core.licensing.types import Decision, Request
from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from paddock_controlplane.audit.models import DenialRow
from paddock_controlplane.audit.service import Event, record
from paddock_controlplane.db import EVERYTHING, Database

HOUR_SECONDS = 3600
MOST_KINDS = 1000
OTHER = "*"
_KEPT_HOURS = 48
_KEY = ("hour", "source", "entity", "role", "verb", "model", "reason")


@dataclass(frozen=True, slots=True, kw_only=True)
class Denial:
    """So many equal denials. Times are Unix seconds; `source` is who decided."""

    source: str
    entity: str
    role: str
    verb: str
    model: str
    reason: str
    first_at: float
    last_at: float
    count: int = 1


async def tell(database: Database, *, question: Request, decision: Decision, source: str) -> None:
    """Write down a denial that the control plane itself decided, in a transaction of its own."""
    denial = Denial(
        source=source,
        entity=question.entity,
        role=question.role.value,
        verb=question.verb.value,
        model=question.model,
        reason=decision.reason.value,
        first_at=question.at,
        last_at=question.at,
    )
    await database.run(EVERYTHING, lambda session: add(session, [denial], now=time.time()))


async def add(session: AsyncSession, denials: Sequence[Denial], *, now: float) -> None:
    """Count these denials in the present hour; the first of each kind is an entry of the log."""
    hour = int(now // HOUR_SECONDS)
    kinds = int(await session.scalar(select(func.count()).select_from(DenialRow).where(DenialRow.hour == hour)) or 0)
    fresh: list[Denial] = []
    for denial in denials:
        known = kinds + len(fresh) < MOST_KINDS or await session.get(DenialRow, (hour, *_kind(denial))) is not None
        counted = denial if known else _other(denial)
        if await _count(session, hour, counted):
            fresh.append(counted)
    for denial in fresh:
        await record(session, _event(denial, denial.count))


async def close_hours(session: AsyncSession, *, now: float) -> None:
    """For hours that are over: how many denials of each kind there were, where that was more than was told at once."""
    hour = int(now // HOUR_SECONDS)
    rows = await session.scalars(
        select(DenialRow)
        .where(DenialRow.hour < hour, DenialRow.count > DenialRow.told)
        .order_by(*(getattr(DenialRow, name) for name in _KEY))
        .with_for_update()
    )
    told = list(rows)
    for row in told:
        row.told = row.count
    await session.execute(delete(DenialRow).where(DenialRow.hour < hour - _KEPT_HOURS))
    await session.flush()
    for row in told:
        await record(session, _event(_denial(row), row.count))


async def _count(session: AsyncSession, hour: int, denial: Denial) -> bool:
    """True if it is the first of its kind in this hour."""
    made = insert(DenialRow).values(
        hour=hour,
        **dict(zip(_KEY[1:], _kind(denial), strict=True)),
        count=denial.count,
        told=denial.count,
        first_at=denial.first_at,
        last_at=denial.last_at,
    )
    upsert = made.on_conflict_do_update(
        index_elements=list(_KEY),
        set_={
            "count": DenialRow.count + made.excluded.count,
            "last_at": func.greatest(DenialRow.last_at, made.excluded.last_at),
        },
    )
    found = await session.execute(upsert.returning(DenialRow.count, DenialRow.told))
    count, told = found.one()
    return bool(count == denial.count == told)


def _kind(denial: Denial) -> tuple[str, ...]:
    return (denial.source, denial.entity, denial.role, denial.verb, denial.model, denial.reason)


def _other(denial: Denial) -> Denial:
    return replace(denial, entity=OTHER, role=OTHER, verb=OTHER, model=OTHER, reason=OTHER)


def _denial(row: DenialRow) -> Denial:
    return Denial(
        source=row.source,
        entity=row.entity,
        role=row.role,
        verb=row.verb,
        model=row.model,
        reason=row.reason,
        first_at=row.first_at,
        last_at=row.last_at,
        count=row.count,
    )


def _event(denial: Denial, count: int) -> Event:
    return Event(
        actor=denial.source,
        action="license.deny",
        subject=denial.model,
        entity=denial.entity if denial.entity not in ("", OTHER) else None,
        detail={
            "role": denial.role,
            "verb": denial.verb,
            "reason": denial.reason,
            "count": count,
            "first_at": denial.first_at,
            "last_at": denial.last_at,
        },
    )
