"""Erasing personal data: names, titles and addresses go, with the salts of their commitments.

What was agreed, and the audit log, stand: the log never held more than salted commitments, so its chain still verifies,
and without data and salt nobody can tell whom a commitment stood for.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from paddock_controlplane.audit.service import Event, record
from paddock_controlplane.entities.models import PersonRow
from paddock_controlplane.licensing.errors import AcceptanceUnknown
from paddock_controlplane.licensing.models import AcceptanceRow, CredentialRow, ReviewRow
from paddock_controlplane.licensing.reviewer_models import ReviewerRow

_BLANK = {"name": "", "email": "", "salt": b""}


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """Whose data went: ids of acceptances, of offers' links, of reviewed grants, and of reviewers. All empty: none."""

    acceptances: list[str]
    links: list[str]
    reviews: list[str]
    reviewers: list[str]


async def of_acceptance(session: AsyncSession, *, acceptance_id: str, actor: str) -> Erased:
    """Erase whoever signed an acceptance. Erased twice, the second time finds nothing.

    Raises:
        AcceptanceUnknown: there is none with this id.
    """
    row = await session.get(AcceptanceRow, acceptance_id, with_for_update=True)
    if row is None:
        raise AcceptanceUnknown(f"no acceptance {acceptance_id}: see `paddock license list`")
    erased = Erased(
        acceptances=await _signatures(session, PersonRow.id == row.person),
        links=await _links(session, or_(CredentialRow.offer == row.offer, CredentialRow.id == row.credential)),
        reviews=[],
        reviewers=[],
    )
    await _write(session, erased, subject=acceptance_id, entity=row.entity, actor=actor)
    return erased


async def of_person(session: AsyncSession, *, email: str, entity: str | None, actor: str) -> Erased:
    """Erase whoever has this address, as signatory (of one entity where it is named) and else also as reviewer."""
    address = email.lower()
    signed, linked = func.lower(PersonRow.email) == address, func.lower(CredentialRow.email) == address
    if entity is not None:
        signed, linked = signed & (PersonRow.entity == entity), linked & (CredentialRow.entity == entity)
    erased = Erased(
        acceptances=await _signatures(session, signed),
        links=await _links(session, linked),
        reviews=[] if entity is not None else await _reviews(session, address),
        reviewers=[] if entity is not None else await _reviewers(session, address),
    )
    await _write(session, erased, subject=entity or "platform", entity=entity, actor=actor)
    return erased


async def _signatures(session: AsyncSession, whose: ColumnElement[bool]) -> list[str]:
    people = list(await session.scalars(select(PersonRow.id).where(whose)))
    changed = await session.scalars(
        update(AcceptanceRow).where(AcceptanceRow.person.in_(people)).values(person=None).returning(AcceptanceRow.id)
    )
    found = sorted(changed)
    await session.execute(delete(PersonRow).where(PersonRow.id.in_(people)))
    return found


async def _links(session: AsyncSession, whose: ColumnElement[bool]) -> list[str]:
    """Nobody signs any more with a link whose person is erased."""
    revoked = func.coalesce(CredentialRow.revoked_at, func.now())
    changed = await session.scalars(
        update(CredentialRow)
        .where(whose, CredentialRow.name != "")
        .values(**_BLANK, delivered_by="", revoked_at=revoked)
        .returning(CredentialRow.id)
    )
    return sorted(changed)


async def _reviews(session: AsyncSession, address: str) -> list[str]:
    changed = await session.scalars(
        update(ReviewRow).where(func.lower(ReviewRow.email) == address).values(**_BLANK).returning(ReviewRow.grant)
    )
    return sorted(changed)


async def _reviewers(session: AsyncSession, address: str) -> list[str]:
    ended = func.coalesce(ReviewerRow.ended_at, datetime.now(UTC))
    changed = await session.scalars(
        update(ReviewerRow)
        .where(func.lower(ReviewerRow.email) == address)
        .values(**_BLANK, delivered_by="", ended_at=ended)
        .returning(ReviewerRow.id)
    )
    return sorted(changed)


async def _write(session: AsyncSession, erased: Erased, *, subject: str, entity: str | None, actor: str) -> None:
    detail = {
        "acceptances": erased.acceptances,
        "links": erased.links,
        "reviews": erased.reviews,
        "reviewers": erased.reviewers,
    }
    if any(detail.values()):
        await record(session, Event(actor=actor, action="person.erase", subject=subject, entity=entity, detail=detail))
