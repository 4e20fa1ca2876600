"""Vendor grants: recorded with their document's digest, in force once two different people compared them with it."""

import os
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from paddock_core.audit.chain import commitment
from paddock_core.catalog.loader import Catalog
from paddock_core.policy.documents import Grant
from sqlalchemy import or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from paddock_controlplane.audit.service import Event, PolicyChange, record
from paddock_controlplane.entities import service as entities
from paddock_controlplane.ids import new_id
from paddock_controlplane.licensing.acceptances import acceptance_change
from paddock_controlplane.licensing.errors import GrantUnknown, GrantUnusable, ModelUnknown, ReviewTwice
from paddock_controlplane.licensing.models import AcceptanceRow, GrantRow, ReviewRow
from paddock_controlplane.licensing.reviewer_models import ReviewerRow
from paddock_controlplane.licensing.texts import license_entry

REVIEWS = 2
_SALT_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What the vendor granted, to whom, and what shows it. Times are Unix seconds, the end exclusive."""

    entity: str
    affiliates: tuple[str, ...]
    licenses: tuple[str, ...]
    models: tuple[str, ...]
    valid_from: float
    valid_to: float
    grantor: str
    reference: str
    document_sha256: str
    assurance: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantView(Terms):
    """A grant as it is shown."""

    id: str
    state: str
    reviews: int
    """How many people reviewed it; two make it active."""
    recorded_by: str
    at: float
    ended_reason: str | None


async def add(session: AsyncSession, *, catalog: Catalog, terms: Terms, actor: str) -> GrantView:
    """Record a grant. It permits nothing until it is reviewed.

    Raises:
        EntityUnknown, LicenseUnknown, ModelUnknown: one of them is not there.
        GrantUnusable: it ends before it begins, or names a model that is under none of its licenses.
    """
    await entities.find(session, terms.entity)
    for name in terms.licenses:
        license_entry(catalog, name)
    for name in terms.models:
        model = catalog.model(name)
        if model is None:
            raise ModelUnknown(f"no model {name} in the catalogue: see `paddock model list`")
        if not set(model.licenses) & set(terms.licenses):
            raise GrantUnusable(f"{name} is under {', '.join(model.licenses)}, which the grant does not name")
    if terms.valid_to <= terms.valid_from:
        raise GrantUnusable("the grant ends before it begins: correct valid_from and valid_to")
    row = GrantRow(
        id=new_id("gra"),
        entity=terms.entity,
        affiliates=list(terms.affiliates),
        licenses=list(terms.licenses),
        models=list(terms.models),
        valid_from=terms.valid_from,
        valid_to=terms.valid_to,
        grantor=terms.grantor,
        reference=terms.reference,
        document_sha256=terms.document_sha256,
        assurance=terms.assurance,
        state="pending_review",
        recorded_by=actor,
        at=time.time(),
        reviews=0,
    )
    session.add(row)
    await session.flush()
    await record(session, _event(row, actor=actor, action="license.grant"))
    return _view(row)


async def review(session: AsyncSession, *, grant_id: str, reviewer: str) -> GrantView:
    """Record that a reviewer compared the grant with its document; the second one puts it in force.

    Raises:
        GrantUnknown: there is none with this id.
        GrantUnusable: it is not waiting for a review.
        ReviewTwice: this person reviewed it already, with whatever token.
    """
    row = await _locked(session, grant_id)
    if row.state != "pending_review":
        raise GrantUnusable(f"grant {grant_id} is {row.state}: it waits for no review")
    person = await session.get_one(ReviewerRow, reviewer)
    if await _reviewed(session, grant_id, person):
        raise ReviewTwice(f"this person reviewed grant {grant_id} already: somebody else must be the second")
    salt = os.urandom(_SALT_BYTES)
    personal = {"name": person.name, "email": person.email}
    session.add(ReviewRow(grant=grant_id, reviewer=reviewer, entity=row.entity, salt=salt, at=time.time(), **personal))
    row.reviews += 1
    await session.flush()
    freed = await _put_in_force(session, row) if row.reviews >= REVIEWS else []
    event = _event(
        row,
        actor=f"reviewer:{reviewer}",
        action="license.grant_review",
        reviews=row.reviews,
        commitments=[commitment(salt=salt, personal=personal)],
        freed=freed,
    )
    await record(session, event)
    return _view(row)


async def _reviewed(session: AsyncSession, grant_id: str, person: ReviewerRow) -> bool:
    """True if a review is by this token, this address or this name: one person with two tokens is one person."""
    name, email = person.name.casefold(), person.email.casefold()
    made = await session.scalars(select(ReviewRow).where(ReviewRow.grant == grant_id))
    return any(
        item.reviewer == person.id or item.name.casefold() == name or item.email.casefold() == email for item in made
    )


async def withdraw(session: AsyncSession, *, grant_id: str, reason: str, actor: str) -> GrantView:
    """End a grant; whoever is above the threshold is denied from then on.

    Raises:
        GrantUnknown: there is none with this id.
        GrantUnusable: it was withdrawn before.
    """
    row = await _locked(session, grant_id)
    if row.state == "withdrawn":
        raise GrantUnusable(f"grant {grant_id} was withdrawn already")
    row.state, row.ended_at, row.ended_reason = "withdrawn", datetime.now(UTC), reason
    await session.flush()
    await record(session, _event(row, actor=actor, action="license.grant_withdraw", reason=reason))
    return _view(row)


async def list_page(
    session: AsyncSession, *, entity: str | None, license_id: str | None, after: str, limit: int, viewer: str | None
) -> list[GrantView]:
    """Grants after an id, ended ones too, one more than `limit` if there are more.

    `entity` picks those that cover it, as holder or affiliate. `viewer` is the entity that looks, None the platform.
    """
    query = select(GrantRow).where(GrantRow.id > after).order_by(GrantRow.id).limit(limit + 1)
    if entity is not None:
        query = query.where(or_(GrantRow.entity == entity, GrantRow.affiliates.contains([entity])))
    if license_id is not None:
        query = query.where(GrantRow.licenses.contains([license_id]))
    return [_seen(row, viewer) for row in await session.scalars(query)]


def _seen(row: GrantRow, viewer: str | None) -> GrantView:
    """An affiliate learns that it is covered, for what and how long; the agreement itself is its holder's."""
    if viewer is None or viewer == row.entity:
        return _view(row)
    return replace(
        _view(row), affiliates=(viewer,), reference="", document_sha256="", recorded_by="", ended_reason=None
    )


async def _locked(session: AsyncSession, grant_id: str) -> GrantRow:
    row = await session.scalar(select(GrantRow).where(GrantRow.id == grant_id).with_for_update())
    if row is None:
        raise GrantUnknown(f"no grant {grant_id}: see `paddock license grant list`")
    return row


async def _put_in_force(session: AsyncSession, row: GrantRow) -> list[AcceptanceRow]:
    """Acceptances that waited for the grant become active. Until it begins, the decision still denies."""
    row.state = "active"
    waiting = await session.scalars(
        select(AcceptanceRow)
        .where(
            AcceptanceRow.entity.in_([row.entity, *row.affiliates]),
            AcceptanceRow.license.in_(row.licenses),
            AcceptanceRow.state == "pending_grant",
        )
        .with_for_update()
    )
    freed = list(waiting)
    for item in freed:
        item.state = "active"
    await session.flush()
    return freed


def _event(
    row: GrantRow,
    *,
    actor: str,
    action: str,
    commitments: list[str] | None = None,
    freed: list[AcceptanceRow] | None = None,
    **detail: object,
) -> Event:
    body = Grant(
        id=row.id,
        entity=row.entity,
        licenses=tuple(row.licenses),
        models=tuple(row.models),
        valid_from=row.valid_from,
        valid_to=row.valid_to,
        state=row.state,
        affiliates=tuple(row.affiliates),
    )
    terms = {
        "licenses": row.licenses,
        "models": row.models,
        "affiliates": row.affiliates,
        "valid_from": row.valid_from,
        "valid_to": row.valid_to,
        "grantor": row.grantor,
        "reference": row.reference,
        "document_sha256": row.document_sha256,
        "assurance": row.assurance,
        "state": row.state,
        "freed": [item.id for item in freed or ()],
    }
    return Event(
        actor=actor,
        action=action,
        subject=row.id,
        entity=row.entity,
        detail={**terms, **detail},
        commitments=commitments or [],
        changes=[
            PolicyChange(kind="grant", id=row.id, body=body),
            *(acceptance_change(item) for item in freed or ()),
        ],
    )


def _view(row: GrantRow) -> GrantView:
    return GrantView(
        id=row.id,
        entity=row.entity,
        affiliates=tuple(row.affiliates),
        licenses=tuple(row.licenses),
        models=tuple(row.models),
        valid_from=row.valid_from,
        valid_to=row.valid_to,
        grantor=row.grantor,
        reference=row.reference,
        document_sha256=row.document_sha256,
        assurance=row.assurance,
        state=row.state,
        reviews=row.reviews,
        recorded_by=row.recorded_by,
        at=row.at,
        ended_reason=row.ended_reason,
    )
