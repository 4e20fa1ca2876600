"""Statements of monthly active users: what was stated, and corrections that make it stricter.

Who signs for the entity may state anything, with a new acceptance; what was once stated above the threshold stands
though, until a grant with its two reviewers covers it. Anybody else who acts for it, and the platform team,
may only correct towards more users: that takes rights away and gives none.
"""

import time
from dataclasses import dataclass

from paddock_core.catalog.loader import Catalog
from paddock_core.licensing.types import Role
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from paddock_controlplane.audit.service import Event, record
from paddock_controlplane.ids import new_id
from paddock_controlplane.licensing import coverage
from paddock_controlplane.licensing.acceptances import acceptance_change, statement_change
from paddock_controlplane.licensing.errors import SignatoryRequired, StatementUnknown
from paddock_controlplane.licensing.models import AcceptanceRow, StatementRow
from paddock_controlplane.licensing.platform import license_policy
from paddock_controlplane.licensing.questions import threshold
from paddock_controlplane.licensing.texts import license_entry

ABOVE = "gt_700m"


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementView:
    """A statement as it is shown. `at` is Unix seconds."""

    id: str
    entity: str
    license: str
    acceptance: str
    band: str
    month: str
    method: str
    affiliates_included: bool
    affiliates: list[str]
    value: int | None
    current: int | None
    at: float
    corrects: str | None
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """What is stated instead of the newest statement of an entity for a license."""

    entity: str
    license: str
    band: str
    method: str
    reason: str
    value: int | None


async def correct(session: AsyncSession, *, catalog: Catalog, correction: Correction, actor: str) -> StatementView:
    """Record a corrected statement; what it no longer permits waits for the vendor's grant.

    Raises:
        LicenseUnknown: the catalogue has no such license.
        StatementUnknown: there is none to correct.
        SignatoryRequired: it would permit more than the statement it corrects.
    """
    if correction.band != ABOVE:
        raise SignatoryRequired(
            "a statement that permits more is the signatory's: make a new offer with `paddock license offer`"
        )
    old = await newest(session, entity=correction.entity, license_id=correction.license)
    if old is None:
        raise StatementUnknown(f"{correction.entity} has stated nothing for {correction.license} yet")
    row = StatementRow(
        id=new_id("sta"),
        entity=old.entity,
        license=old.license,
        acceptance=old.acceptance,
        band=correction.band,
        month=old.month,
        method=correction.method,
        affiliates_included=old.affiliates_included,
        affiliates=old.affiliates,
        value=correction.value,
        current=old.current,
        at=max(time.time(), old.at),
        corrects=old.id,
        reason=correction.reason,
        stated_at=old.at if old.stated_at is None else old.stated_at,
    )
    session.add(row)
    await session.flush()
    waiting = await _set_waiting(session, catalog, row)
    event = Event(
        actor=actor,
        action="license.statement",
        subject=row.id,
        entity=row.entity,
        detail={"license": row.license, "band": row.band, "corrects": old.id, "reason": correction.reason},
        changes=[statement_change(row), *(acceptance_change(item) for item in waiting)],
    )
    await record(session, event)
    return view(row)


async def list_page(
    session: AsyncSession, *, entity: str | None, license_id: str | None, after: str, limit: int
) -> list[StatementView]:
    """Statements after an id, corrected ones too, one more than `limit` if there are more."""
    query = select(StatementRow).where(StatementRow.id > after).order_by(StatementRow.id).limit(limit + 1)
    if entity is not None:
        query = query.where(StatementRow.entity == entity)
    if license_id is not None:
        query = query.where(StatementRow.license == license_id)
    return [view(row) for row in await session.scalars(query)]


async def newest(session: AsyncSession, *, entity: str, license_id: str) -> StatementRow | None:
    """The statement that counts."""
    query = select(StatementRow).where(StatementRow.entity == entity, StatementRow.license == license_id)
    found: StatementRow | None = await session.scalar(query.order_by(StatementRow.at.desc()).limit(1))
    return found


async def bound(session: AsyncSession, *, catalog: Catalog, license_id: str) -> list[str]:
    """Roles in which the license's threshold binds an entity, as the platform's policy stands.

    Raises:
        LicenseUnknown: the catalogue has no such license.
    """
    entry, policy = license_entry(catalog, license_id), await license_policy(session)
    return [role.value for role in Role if threshold(entry, role, policy) is not None]


async def above_without_grant(
    session: AsyncSession, *, catalog: Catalog, entity: str, license_id: str, role: str
) -> bool:
    """True if the entity ever stated more users than the license permits in this role and no active grant covers that.

    The month that counts does not change any more, so that a later and lower statement takes nothing back.
    """
    stated = await session.scalar(
        select(StatementRow.id)
        .where(StatementRow.entity == entity, StatementRow.license == license_id, StatementRow.band == ABOVE)
        .limit(1)
    )
    return (
        stated is not None
        and role in await bound(session, catalog=catalog, license_id=license_id)
        and not await coverage.granted(session, entity=entity, license_id=license_id)
    )


def view(row: StatementRow) -> StatementView:
    """The statement as it is shown."""
    return StatementView(
        id=row.id,
        entity=row.entity,
        license=row.license,
        acceptance=row.acceptance,
        band=row.band,
        month=row.month,
        method=row.method,
        affiliates_included=row.affiliates_included,
        affiliates=row.affiliates,
        value=row.value,
        current=row.current,
        at=row.at,
        corrects=row.corrects,
        reason=row.reason,
    )


async def _set_waiting(session: AsyncSession, catalog: Catalog, row: StatementRow) -> list[AcceptanceRow]:
    """Acceptances in the roles that the threshold binds wait from now on; the others go on."""
    if await coverage.granted(session, entity=row.entity, license_id=row.license):
        return []
    rows = await session.scalars(
        select(AcceptanceRow)
        .where(
            AcceptanceRow.entity == row.entity,
            AcceptanceRow.license == row.license,
            AcceptanceRow.role.in_(await bound(session, catalog=catalog, license_id=row.license)),
            AcceptanceRow.state == "active",
        )
        .with_for_update()
    )
    found = list(rows)
    for item in found:
        item.state = "pending_grant"
    await session.flush()
    return found
