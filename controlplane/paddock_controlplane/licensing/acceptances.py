"""Acceptances: made by a signatory from an offer, ended by a revocation."""

import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from paddock_core.audit.chain import commitment
from paddock_core.catalog.loader import Catalog
from paddock_core.licensing.types import Role
from paddock_core.policy.documents import Acceptance, Statement
from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from paddock_controlplane.audit.service import Event, PolicyChange, record
from paddock_controlplane.entities.models import PersonRow
from paddock_controlplane.ids import new_id
from paddock_controlplane.licensing import coverage, offers
from paddock_controlplane.licensing.answers import Answers, Person, Users, check_answers
from paddock_controlplane.licensing.errors import AnswerMissing
from paddock_controlplane.licensing.models import AcceptanceRow, CredentialRow, OfferRow, StatementRow
from paddock_controlplane.licensing.platform import license_policy
from paddock_controlplane.licensing.texts import Digests, license_entry

_SALT_BYTES = 32
_STANDING = ("active", "pending_grant", "stale")


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptanceView:
    """An acceptance as it is shown. Times are Unix seconds."""

    id: str
    entity: str
    license: str
    role: str
    canonical: str
    at: float
    state: str
    flow_down: bool
    offer: str
    jurisdiction: str
    digests: dict[str, Digests]
    ended_reason: str | None
    grace_until: float | None
    """Of an acceptance of older words: until when it holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt(AcceptanceView):
    """A new acceptance and the proof of it: its place in the audit log."""

    statement: str | None
    """Id of the statement of monthly active users, where one was asked for."""
    audit_seq: int
    audit_digest: str


async def accept(
    session: AsyncSession, *, catalog: Catalog, credential_id: str, offer_id: str | None, answers: Answers
) -> Receipt:
    """Record the signatory's acceptance.

    Raises:
        OfferUsed, OfferStale, LinkReplaced: the offer can no longer be accepted with this credential.
        LicenseEnded: the license was suspended or terminated since the offer was made.
        AnswerMissing: a question is not answered, or not as asked.
    """
    offer, credential = await offers.open_offer(session, credential_id=credential_id, lock=True)
    if offer_id is not None and offer_id != offer.id:
        raise AnswerMissing(f"offer_token: this signatory token is for offer {offer.id}, not for {offer_id}")
    entry = license_entry(catalog, offer.license)
    await offers.unchanged_texts(session, entry, offer)
    await alone(session, entity=offer.entity, license_id=offer.license)
    await offers.not_ended(session, offer.entity, entry)
    check_answers(entry, Role(offer.role), answers, await license_policy(session), credential)
    credential.used_at = datetime.now(UTC)
    person, proof = await _person(session, offer, answers.person)
    granted = await coverage.granted(session, entity=offer.entity, license_id=offer.license)
    row = _row(offer, credential, person, answers, granted=granted)
    superseded = await _supersede(session, row)
    session.add(row)
    await session.flush()
    statement = _statement(row, answers.users)
    if statement is not None:
        session.add(statement)
        await session.flush()
    entry_made = await record(session, _accepted(row, statement, superseded, proof, credential_id))
    row.audit_seq, row.audit_digest = entry_made.seq, entry_made.digest
    await session.flush()
    return Receipt(
        **shown(row),
        statement=statement.id if statement else None,
        audit_seq=entry_made.seq,
        audit_digest=entry_made.digest,
    )


async def list_page(
    session: AsyncSession, *, entity: str | None, license_id: str | None, after: str, limit: int
) -> list[AcceptanceView]:
    """Acceptances after an id, ended ones too, one more than `limit` if there are more."""
    query = select(AcceptanceRow).where(AcceptanceRow.id > after).order_by(AcceptanceRow.id).limit(limit + 1)
    if entity is not None:
        query = query.where(AcceptanceRow.entity == entity)
    if license_id is not None:
        query = query.where(AcceptanceRow.license == license_id)
    return [view(row) for row in await session.scalars(query)]


async def _person(session: AsyncSession, offer: OfferRow, person: Person) -> tuple[PersonRow, str]:
    """The stored person, and the commitment to the personal data that enters the audit chain."""
    salt = os.urandom(_SALT_BYTES)
    personal = {"name": person.name, "title": person.title, "email": person.email, "authority": person.authority}
    row = PersonRow(id=new_id("per"), entity=offer.entity, salt=salt, **personal)
    session.add(row)
    await session.flush()
    return row, commitment(salt=salt, personal=personal)


def _row(
    offer: OfferRow, credential: CredentialRow, person: PersonRow, answers: Answers, *, granted: bool
) -> AcceptanceRow:
    above = answers.users is not None and answers.users.band != "le_700m"
    return AcceptanceRow(
        id=new_id("acc"),
        entity=offer.entity,
        license=offer.license,
        role=offer.role,
        offer=offer.id,
        credential=credential.id,
        person=person.id,
        jurisdiction=answers.jurisdiction,
        digests=offer.digests,
        canonical=offer.digests["agreement"]["canonical"],
        flow_down=bool(answers.flow_down),
        state="pending_grant" if above and not granted else "active",
        at=time.time(),
    )


async def alone(session: AsyncSession, *, entity: str, license_id: str) -> None:
    """Until the transaction ends, nobody else changes acceptances of this license by this entity.

    Two acceptances at once would both stand, and revoking one would change nothing.
    """
    place = f"acceptances {entity} {license_id}"
    await session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(place, 0))))


async def _supersede(session: AsyncSession, new: AcceptanceRow) -> list[AcceptanceRow]:
    """A new acceptance takes the place of the standing one of the same entity, license and role."""
    rows = await session.scalars(
        select(AcceptanceRow)
        .where(
            AcceptanceRow.entity == new.entity,
            AcceptanceRow.license == new.license,
            AcceptanceRow.role == new.role,
            or_(AcceptanceRow.state.in_(_STANDING), AcceptanceRow.grace_until.is_not(None)),
            AcceptanceRow.state != "superseded",
        )
        .with_for_update()
    )
    old = list(rows)
    for row in old:
        row.state, row.ended_at, row.ended_reason = "superseded", datetime.now(UTC), f"superseded by {new.id}"
        row.grace_until = None
    return old


def _statement(row: AcceptanceRow, users: Users | None) -> StatementRow | None:
    if users is None:
        return None
    return StatementRow(
        id=new_id("sta"),
        entity=row.entity,
        license=row.license,
        acceptance=row.id,
        band=users.band,
        month=users.month,
        method=users.method,
        affiliates_included=users.affiliates_included,
        value=users.value,
        current=users.current,
        affiliates=list(users.affiliates),
        at=row.at,
    )


def _accepted(
    row: AcceptanceRow, statement: StatementRow | None, superseded: list[AcceptanceRow], proof: str, credential: str
) -> Event:
    changes = [acceptance_change(item) for item in superseded] + [acceptance_change(row)]
    detail: dict[str, object] = {
        "license": row.license,
        "role": row.role,
        "offer": row.offer,
        "digests": row.digests,
        "jurisdiction": row.jurisdiction,
        "flow_down": row.flow_down,
        "state": row.state,
    }
    if statement is not None:
        changes.append(statement_change(statement))
        detail["statement"] = {"id": statement.id, "band": statement.band, "month": statement.month}
    return Event(
        actor=f"signatory:{credential}",
        action="license.accept",
        subject=row.id,
        entity=row.entity,
        detail=detail,
        commitments=[proof],
        changes=changes,
    )


def statement_change(row: StatementRow) -> PolicyChange:
    """What followers learn of a statement."""
    body = Statement(
        id=row.id,
        entity=row.entity,
        license=row.license,
        band=row.band,
        at=row.at,
        value=row.value,
        current=row.current,
        affiliates=tuple(row.affiliates),
        stated_at=row.stated_at,
    )
    return PolicyChange(kind="statement", id=row.id, body=body, record=statement_record(row), entity=row.entity)


def acceptance_change(row: AcceptanceRow) -> PolicyChange:
    """What followers learn of an acceptance."""
    body = Acceptance(
        id=row.id,
        entity=row.entity,
        license=row.license,
        role=row.role,
        canonical=row.canonical,
        at=row.at,
        # Suspended only because its words are old: whoever decides says so, and that a new acceptance mends it.
        state="stale" if row.grace_until is not None else row.state,
        flow_down=row.flow_down,
        aup=row.digests.get("aup", {}).get("canonical", ""),
    )
    return PolicyChange(kind="acceptance", id=row.id, body=body, record=acceptance_record(row), entity=row.entity)


def statement_record(row: StatementRow) -> dict[str, Any]:
    """All of a statement, as the audit chain binds it."""
    names = ("id", "entity", "license", "acceptance", "band", "month", "method", "affiliates_included", "value", "at")
    more = ("current", "corrects", "reason", "stated_at")
    return {**{name: getattr(row, name) for name in (*names, *more)}, "affiliates": list(row.affiliates)}


def acceptance_record(row: AcceptanceRow) -> dict[str, Any]:
    """All of an acceptance, as the audit chain binds it, but its signatory: that person's data can be erased."""
    names = ("id", "entity", "license", "role", "offer", "credential", "jurisdiction", "digests", "canonical")
    more = ("flow_down", "state", "at", "ended_reason", "grace_until")
    return {name: getattr(row, name) for name in (*names, *more)}


def view(row: AcceptanceRow) -> AcceptanceView:
    """The acceptance as it is shown."""
    return AcceptanceView(**shown(row))


def shown(row: AcceptanceRow) -> dict[str, Any]:
    """The fields of an AcceptanceView."""
    return {
        "id": row.id,
        "entity": row.entity,
        "license": row.license,
        "role": row.role,
        "canonical": row.canonical,
        "at": row.at,
        "state": row.state,
        "flow_down": row.flow_down,
        "offer": row.offer,
        "jurisdiction": row.jurisdiction,
        "digests": {role: Digests(**found) for role, found in row.digests.items()},
        "ended_reason": row.ended_reason,
        "grace_until": row.grace_until,
    }
