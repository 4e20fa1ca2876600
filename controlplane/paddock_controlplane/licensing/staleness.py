"""Acceptances of older words: stale when other words are imported, suspended when the days of grace are over.

Gateways and the operator count the days themselves from the import; the states here are what people see, and what the
audit log says. A new acceptance of the words in force takes the place of a stale one, and of one suspended for this.
"""

import time
from collections.abc import Mapping
from datetime import UTC, datetime

from paddock_core.catalog.loader import Catalog
from paddock_core.catalog.types import LicenseEntry
from paddock_core.policy.documents import LicensePolicy
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from paddock_controlplane.audit.service import Event, record
from paddock_controlplane.licensing import texts
from paddock_controlplane.licensing.acceptances import acceptance_change
from paddock_controlplane.licensing.models import AcceptanceRow
from paddock_controlplane.licensing.platform import license_policy, set_license_policy
from paddock_controlplane.licensing.texts import Imported

_DAY_SECONDS = 86_400.0
OVER = "other words of the license are in force and the days of grace are over: accept again"


async def import_texts(
    session: AsyncSession, *, catalog: Catalog, license_id: str, contents: dict[str, str], actor: str
) -> Imported:
    """Import the texts of a license; acceptances of other words than those pinned are stale from now on.

    Raises:
        LicenseUnknown, TextMismatch: as paddock_controlplane.licensing.texts.import_texts.
    """
    done = await texts.import_texts(session, catalog=catalog, license_id=license_id, contents=contents, actor=actor)
    entry = texts.license_entry(catalog, license_id)
    rows = await session.scalars(
        select(AcceptanceRow)
        .where(AcceptanceRow.license == entry.id, AcceptanceRow.state.in_(("active", "pending_grant")))
        .order_by(AcceptanceRow.id)
        .with_for_update()
    )
    outdated = [row for row in rows if _outdated(entry, row)]
    until = time.time() + (await license_policy(session)).grace_days * _DAY_SECONDS
    for row in outdated:
        row.state, row.grace_until = "stale", until
    await _write(session, outdated, action="license.stale", actor=actor, detail={"grace_until": until})
    return done


async def set_policy(session: AsyncSession, *, policy: LicensePolicy, actor: str) -> LicensePolicy:
    """Put another platform policy in force; with other days of grace, those that run are longer or shorter too."""
    more = (policy.grace_days - (await license_policy(session)).grace_days) * _DAY_SECONDS
    made = await set_license_policy(session, policy=policy, actor=actor)
    if more == 0:
        return made
    rows = await session.scalars(
        select(AcceptanceRow).where(AcceptanceRow.grace_until.is_not(None)).order_by(AcceptanceRow.id).with_for_update()
    )
    moved = list(rows)
    for row in moved:
        row.grace_until = (row.grace_until or 0.0) + more
        if row.state == "suspended" and row.grace_until > time.time():
            row.state, row.ended_at, row.ended_reason = "stale", None, None
    detail = {"grace_days": policy.grace_days}
    await _write(session, moved, action="license.stale", actor=actor, detail=detail)
    return made


async def suspend_overdue(session: AsyncSession, *, now: float) -> list[str]:
    """Stale acceptances whose days of grace are over are suspended. Answers their ids."""
    rows = await session.scalars(
        select(AcceptanceRow)
        .where(AcceptanceRow.state == "stale", AcceptanceRow.grace_until <= now)
        .order_by(AcceptanceRow.id)
        .with_for_update()
    )
    overdue = list(rows)
    for row in overdue:
        row.state, row.ended_at, row.ended_reason = "suspended", datetime.now(UTC), OVER
    await _write(session, overdue, action="license.suspend", actor="platform", detail={"reason": OVER})
    return [row.id for row in overdue]


async def _write(
    session: AsyncSession, rows: list[AcceptanceRow], *, action: str, actor: str, detail: Mapping[str, object]
) -> None:
    """An entry for each license, if there is anything to tell."""
    await session.flush()
    for name in sorted({row.license for row in rows}):
        own = [row for row in rows if row.license == name]
        told = {**detail, "acceptances": [row.id for row in own]}
        changes = [acceptance_change(row) for row in own]
        await record(session, Event(actor=actor, action=action, subject=name, detail=told, changes=changes))


def _outdated(entry: LicenseEntry, row: AcceptanceRow) -> bool:
    return any(
        role in row.digests and not pin.has(str(row.digests[role]["canonical"]))
        for role, pin in ((pin.role, pin) for pin in entry.texts)
    )
