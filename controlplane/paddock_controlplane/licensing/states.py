"""What becomes of an acceptance: revoked, suspended, terminated, reinstated.

A revocation is the entity's own act or the platform's; the others are the platform team's alone. Nothing is deleted.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from paddock_controlplane.artifacts.references import Ended, Models, drop
from paddock_controlplane.audit.service import Event, record
from paddock_controlplane.entities.models import EntityRow
from paddock_controlplane.licensing.acceptances import AcceptanceView, acceptance_change, alone, view
from paddock_controlplane.licensing.errors import AcceptanceEnded, AcceptanceUnknown
from paddock_controlplane.licensing.models import AcceptanceRow
from paddock_controlplane.licensing.statements import above_without_grant


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A change of state: from which states, to which."""

    action: str
    after: Mapping[str, str]
    """New state by old one."""


STEPS: dict[str, Step] = {
    "revoke": Step(action="license.revoke", after=dict.fromkeys(("active", "pending_grant", "stale"), "revoked")),
    "suspend": Step(action="license.suspend", after=dict.fromkeys(("active", "pending_grant", "stale"), "suspended")),
    "terminate": Step(
        action="license.terminate",
        after=dict.fromkeys(("active", "pending_grant", "stale", "suspended"), "terminated"),
    ),
    # A termination that is lifted leaves no agreement behind: the entity accepts again.
    "reinstate": Step(action="license.reinstate", after={"suspended": "active", "terminated": "revoked"}),
}


async def change(
    session: AsyncSession, *, models: Models, acceptance_id: str, step: str, reason: str, actor: str
) -> AcceptanceView:
    """Take a step; every connected gateway follows from the next request on. A termination also drops the files.

    Raises:
        AcceptanceUnknown: the caller sees none with this id.
        AcceptanceEnded: its state does not allow the step.
    """
    row = await _locked(session, acceptance_id)
    before, after = row.state, STEPS[step].after.get(row.state)
    if after is None:
        raise AcceptanceEnded(f"acceptance {acceptance_id} is {row.state} already: no `{step}` follows that")
    if before == "suspended" and row.grace_until is not None and after == "active":
        raise AcceptanceEnded(f"acceptance {acceptance_id} is of older words: {row.entity} accepts those in force")
    if after == "active" and await above_without_grant(
        session, catalog=models.catalog, entity=row.entity, license_id=row.license, role=row.role
    ):
        after = "pending_grant"
    rows = [row, *await _carried_along(session, row, before=before, after=after)]
    standing = after in ("active", "pending_grant")
    for one in rows:
        one.state = after
        one.ended_at, one.ended_reason = (None, None) if standing else (datetime.now(UTC), reason)
        one.grace_until = None
    await session.flush()
    detail = {"license": row.license, "role": row.role, "reason": reason, "before": before, "after": after}
    if len(rows) > 1:
        detail["with"] = ", ".join(one.id for one in rows[1:])
    event = Event(
        actor=actor,
        action=STEPS[step].action,
        subject=row.id,
        entity=row.entity,
        detail=detail,
        changes=[acceptance_change(one) for one in rows],
    )
    await record(session, event)
    if after == "terminated":
        await _drop(session, models, row, actor)
    return view(row)


async def _drop(session: AsyncSession, models: Models, row: AcceptanceRow, actor: str) -> None:
    """What the license held goes: with its last licensed reference, or at once where the platform's own ended."""
    operator = await session.scalar(select(EntityRow.is_operator).where(EntityRow.id == row.entity))
    ended = Ended(entity=row.entity, license=row.license, cause=row.id, operator=bool(operator))
    await drop(session, models=models, ended=ended, actor=actor)


async def _locked(session: AsyncSession, acceptance_id: str) -> AcceptanceRow:
    row = await session.scalar(select(AcceptanceRow).where(AcceptanceRow.id == acceptance_id))
    if row is None:
        raise AcceptanceUnknown(f"no acceptance {acceptance_id}: see `paddock license list`")
    await alone(session, entity=row.entity, license_id=row.license)
    await session.refresh(row, with_for_update=True)
    return row


async def _carried_along(session: AsyncSession, row: AcceptanceRow, *, before: str, after: str) -> list[AcceptanceRow]:
    """A termination ends the agreement with the entity in every role, and lifting it brings none of them back."""
    if after == "terminated":
        states: tuple[str, ...] = ("active", "pending_grant", "stale", "suspended")
    elif before == "terminated":
        states = ("terminated",)
    else:
        return []
    found = await session.scalars(
        select(AcceptanceRow).where(
            AcceptanceRow.id != row.id,
            AcceptanceRow.entity == row.entity,
            AcceptanceRow.license == row.license,
            AcceptanceRow.state.in_(states),
        )
    )
    return list(found)
