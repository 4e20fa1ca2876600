"""The people who compare vendors' grants with their documents: each has a token of their own, issued by name."""

import os
from dataclasses import dataclass
from datetime import UTC, datetime

from paddock_core.audit.chain import commitment
from paddock_core.keys import REVIEWER, secret_digest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from paddock_controlplane.audit.service import Event, record
from paddock_controlplane.ids import new_credential
from paddock_controlplane.licensing.errors import ReviewerExists, ReviewerUnknown
from paddock_controlplane.licensing.reviewer_models import ReviewerRow

_SALT_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewerView:
    """A reviewer as shown. Times are Unix seconds."""

    id: str
    name: str
    email: str
    delivered_by: str
    created_at: float
    ended_at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewReviewer:
    """A new reviewer's token, which is shown this once."""

    id: str
    reviewer_token: str


async def add(session: AsyncSession, *, name: str, email: str, delivered_by: str, actor: str) -> NewReviewer:
    """Issue a token to a person.

    Raises:
        ReviewerExists: a person with this address has one.
    """
    living = select(ReviewerRow.id).where(
        func.lower(ReviewerRow.email) == email.lower(), ReviewerRow.ended_at.is_(None)
    )
    known = await session.scalar(living)
    if known is not None:
        raise ReviewerExists(f"reviewer {known} has this address: end that one first, or let another person review")
    token, parsed = new_credential(REVIEWER)
    salt = os.urandom(_SALT_BYTES)
    session.add(
        ReviewerRow(
            id=parsed.id,
            name=name,
            email=email,
            delivered_by=delivered_by,
            secret_sha256=secret_digest(parsed.secret),
            salt=salt,
        )
    )
    await session.flush()
    proof = commitment(salt=salt, personal={"name": name, "email": email, "delivered_by": delivered_by})
    await record(session, Event(actor=actor, action="reviewer.add", subject=parsed.id, commitments=[proof]))
    return NewReviewer(id=parsed.id, reviewer_token=token)


async def end(session: AsyncSession, *, reviewer: str, actor: str) -> None:
    """A reviewer's token opens nothing from now on. Reviews that were made stand.

    Raises:
        ReviewerUnknown: there is none with this id.
    """
    row = await session.get(ReviewerRow, reviewer, with_for_update=True)
    if row is None:
        raise ReviewerUnknown(f"no reviewer {reviewer}: see `paddock license grant reviewers`")
    if row.ended_at is not None:
        return
    row.ended_at = datetime.now(UTC)
    await session.flush()
    await record(session, Event(actor=actor, action="reviewer.end", subject=reviewer))


async def list_page(session: AsyncSession, *, after: str, limit: int) -> list[ReviewerView]:
    """Reviewers after an id, ended ones too, one more than `limit` if there are more."""
    query = select(ReviewerRow).where(ReviewerRow.id > after).order_by(ReviewerRow.id).limit(limit + 1)
    return [
        ReviewerView(
            id=row.id,
            name=row.name,
            email=row.email,
            delivered_by=row.delivered_by,
            created_at=row.created_at.timestamp(),
            ended_at=row.ended_at.timestamp() if row.ended_at else None,
        )
        for row in await session.scalars(query)
    ]
