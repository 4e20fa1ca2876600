"""Links: the single-use credential of the one person who may accept an offer, and the browser's session behind it.

A link is issued to a named person, for one offer. Whoever opens it in a browser trades its token for a session; from
then on the token, which stays in that browser's history and perhaps in a mailbox, opens nothing.
"""

import hmac
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from paddock_core.audit.chain import commitment
from paddock_core.keys import SECRET_BYTES, SIGNATORY, ParsedKey, format_key, secret_digest
from paddock_core.policy.documents import Entity
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from paddock_controlplane.audit.service import Event, record
from paddock_controlplane.ids import new_credential
from paddock_controlplane.licensing.errors import LinkOpened, LinkUnknown
from paddock_controlplane.licensing.models import CredentialRow, OfferRow
from paddock_controlplane.tenants.admins import Issuer

SESSION = "pss"
"""Prefix of the credential that a browser holds."""
SESSION_SECONDS = 3600
_SALT_BYTES = 32
_AGAIN_SECONDS = 60
"""How long after its first opening a link may be opened again: an impatient double click must not lock anybody out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signatory:
    """Who may accept, and how the link reaches that person."""

    name: str
    email: str
    delivered_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatoryLink:
    """A new link; its token is shown this once."""

    offer: str
    entity: str
    signatory_token: str
    link: str
    expires_at: float


def may_issue(entity: Entity, *, issuer: Issuer) -> bool:
    """The platform, and tokens that it issued later, get links of its own entity's signatories alone.

    Row-level security keeps tenants to the offers of their own entity.
    """
    return entity.is_operator or issuer.signs


async def issue(
    session: AsyncSession, *, offer: OfferRow, signatory: Signatory, issuer: Issuer, seconds: float, public_url: str
) -> SignatoryLink:
    """Issue an offer's link, in the place of an earlier one; the offer ends with it. The offer's row is locked."""
    now = datetime.now(UTC)
    for earlier in await session.scalars(
        select(CredentialRow)
        .where(CredentialRow.offer == offer.id, CredentialRow.revoked_at.is_(None))
        .with_for_update()
    ):
        earlier.revoked_at, earlier.session_sha256 = now, None
        await session.flush()
        revoked = {"offer": offer.id, "reason": "a newer link was issued"}
        await record(
            session,
            Event(
                actor=issuer.actor,
                action="license.link.revoke",
                subject=earlier.id,
                entity=offer.entity,
                detail=revoked,
            ),
        )
    token, parsed = new_credential(SIGNATORY)
    salt = os.urandom(_SALT_BYTES)
    row = CredentialRow(
        id=parsed.id,
        offer=offer.id,
        entity=offer.entity,
        secret_sha256=secret_digest(parsed.secret),
        name=signatory.name,
        email=signatory.email,
        delivered_by=signatory.delivered_by,
        issued_by=issuer.actor,
        issued_token=issuer.token,
        token_issued_by=issuer.token_issued_by,
        salt=salt,
        issued_at=now,
    )
    session.add(row)
    offer.expires_at = now + timedelta(seconds=seconds)
    await session.flush()
    await record(session, _issued(row, offer))
    return SignatoryLink(
        offer=offer.id,
        entity=offer.entity,
        signatory_token=token,
        link=f"{public_url.rstrip('/')}/console/sign/{token}",
        expires_at=offer.expires_at.timestamp(),
    )


def _issued(row: CredentialRow, offer: OfferRow) -> Event:
    """How it is delivered is free text, in which names may stand: it goes into the commitment, not into the chain."""
    return Event(
        actor=row.issued_by,
        action="license.link",
        subject=row.id,
        entity=offer.entity,
        detail={
            "offer": offer.id,
            "license": offer.license,
            "role": offer.role,
            "token": row.issued_token,
            "token_issued_by": row.token_issued_by,
        },
        commitments=[
            commitment(salt=row.salt, personal={"name": row.name, "email": row.email, "delivered_by": row.delivered_by})
        ],
    )


async def open_session(session: AsyncSession, *, key: ParsedKey) -> str:
    """Trade the token of a link for a browser's session; the token opens nothing from then on.

    Raises:
        LinkUnknown: there is no such link.
        LinkOpened: it was traded before.
    """
    row = await session.get(CredentialRow, key.id, with_for_update=True)
    if row is None or not matches(key, row.secret_sha256):
        raise LinkUnknown("check the link for a missing or changed character, or ask for a new one")
    now = datetime.now(UTC)
    if row.opened_at is not None and now > row.opened_at + timedelta(seconds=_AGAIN_SECONDS):
        raise LinkOpened("go on in the browser in which it was opened, or ask for a new link")
    secret = os.urandom(SECRET_BYTES)
    # A session is found by the id of its link.
    text = format_key(SESSION, key.id, secret)
    row.opened_at, row.session_sha256 = now, secret_digest(secret.hex())
    await session.flush()
    return text


async def session_of(session: AsyncSession, *, key: ParsedKey) -> CredentialRow | None:
    """The credential whose browser's session this is, or None where it is none or has ended."""
    row = await session.get(CredentialRow, key.id)
    if key.prefix != SESSION or row is None or row.session_sha256 is None or row.opened_at is None:
        return None
    if datetime.now(UTC) > row.opened_at + timedelta(seconds=SESSION_SECONDS):
        return None
    return row if matches(key, row.session_sha256) else None


async def close_session(session: AsyncSession, *, credential_id: str) -> None:
    """End the browser's session."""
    row = await session.get_one(CredentialRow, credential_id, with_for_update=True)
    row.session_sha256 = None
    await session.flush()


def matches(key: ParsedKey, stored: str) -> bool:
    """True if the key's secret is the one whose digest is stored; takes the same time either way."""
    return hmac.compare_digest(secret_digest(key.secret), stored)
