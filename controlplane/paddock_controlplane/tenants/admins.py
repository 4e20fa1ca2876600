"""Admin tokens of tenants: issued, given new secrets with an overlap, revoked, as API keys are."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from paddock_core.keys import TENANT_ADMIN, ParsedKey, opens, secret_digest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from paddock_controlplane.audit.service import Event, record
from paddock_controlplane.ids import new_credential
from paddock_controlplane.tenants import service
from paddock_controlplane.tenants.errors import AdminTokenEnded, AdminTokenExpiryPast, AdminTokenUnknown
from paddock_controlplane.tenants.models import TenantAdminRow


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminTokenView:
    """An admin token as it is shown: never its secret. Times are Unix seconds."""

    id: str
    tenant: str
    name: str
    created_at: float
    expires_at: float | None
    revoked_at: float | None
    rotated_at: float | None
    issued_by: str
    """`platform`, or `admin-token:ID` of the token with which it was issued."""
    signs: bool
    """It may issue links of the entity's signatories."""
    previous_until: float | None
    """Until when the secret before the last rotation still opens it; null where it does not any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAdminToken:
    """A new token, or a token's new secret; `admin_token` is shown this once."""

    id: str
    admin_token: str
    tenant: str
    name: str
    expires_at: float | None
    signs: bool
    previous_until: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """Who issues something: `actor` for the audit log, and the token of a tenant that did it, if one did."""

    actor: str
    token: str
    """Id of the admin token; empty for the platform's own token."""
    token_issued_by: str
    signs: bool
    """This token may issue links of its entity's signatories."""

    def name(self) -> str:
        """As records of what it issued tell it."""
        return f"admin-token:{self.token}" if self.token else self.actor


async def issue(
    session: AsyncSession, *, tenant: str, name: str, expires_at: float | None, issuer: Issuer
) -> NewAdminToken:
    """Issue another admin token of a tenant; it may issue links of signatories where the token that issues it may.

    Raises:
        TenantUnknown: there is no such tenant.
        AdminTokenExpiryPast: it would have expired already.
    """
    if expires_at is not None and expires_at <= time.time():
        raise AdminTokenExpiryPast("expires_at is in the past: give a later Unix time in seconds")
    await service.find(session, tenant)
    text, parsed = new_credential(TENANT_ADMIN)
    digest = secret_digest(parsed.secret)
    row = TenantAdminRow(
        id=parsed.id,
        tenant=tenant,
        secret_sha256=digest,
        name=name,
        expires_at=expires_at,
        issued_by=issuer.name(),
        signs=issuer.signs,
    )
    session.add(row)
    await session.flush()
    detail = {"expires_at": expires_at, "issued_by": row.issued_by, "signs": row.signs}
    await record(session, _event(issuer.actor, "tenant.admin.issue", row, detail))
    return NewAdminToken(
        id=parsed.id, admin_token=text, tenant=tenant, name=name, expires_at=expires_at, signs=row.signs
    )


async def rotate(
    session: AsyncSession, *, tenant: str, token_id: str, overlap_seconds: float, issuer: Issuer
) -> NewAdminToken:
    """Give a token a new secret. The one that it has opens it for `overlap_seconds` more, any older one no longer.

    Whoever gets the secret may do what the token may: a token that may issue links of signatories may not any more
    where somebody gave it a secret who may not.

    Raises:
        AdminTokenUnknown: the tenant has no such token.
        AdminTokenEnded: it was revoked or has expired.
    """
    row, now = await _row(session, tenant=tenant, token_id=token_id), time.time()
    if not row.lives(now=now):
        raise AdminTokenEnded(f"admin token {token_id} was revoked or has expired: issue another")
    text = row.renew(TENANT_ADMIN, overlap_seconds=overlap_seconds, now=now)
    row.signs, row.issued_by = row.signs and issuer.signs, row.issued_by if issuer.token else issuer.actor
    await session.flush()
    detail = {"overlap_seconds": overlap_seconds, "issued_by": issuer.name(), "signs": row.signs}
    await record(session, _event(issuer.actor, "tenant.admin.rotate", row, detail))
    return NewAdminToken(
        id=token_id,
        admin_token=text,
        tenant=tenant,
        name=row.name,
        expires_at=row.expires_at,
        signs=row.signs,
        previous_until=row.previous_until,
    )


async def revoke(session: AsyncSession, *, tenant: str, token_id: str, actor: str) -> None:
    """Revoke a token; nothing happens if it is revoked already.

    Raises:
        AdminTokenUnknown: the tenant has no such token.
    """
    row = await _row(session, tenant=tenant, token_id=token_id)
    if row.revoked_at is None:
        row.revoked_at = datetime.now(UTC)
        await record(session, _event(actor, "tenant.admin.revoke", row, {}))


async def list_page(session: AsyncSession, *, tenant: str, after: str, limit: int) -> list[AdminTokenView]:
    """A tenant's tokens after an id, ended ones too, one more than `limit` if there are more."""
    rows = await session.scalars(
        select(TenantAdminRow)
        .where(TenantAdminRow.tenant == tenant, TenantAdminRow.id > after)
        .order_by(TenantAdminRow.id)
        .limit(limit + 1)
    )
    return [_view(row) for row in rows]


def proved(row: TenantAdminRow, key: ParsedKey, *, now: float) -> bool:
    """True if the key's secret opens this token at `now`, Unix seconds."""
    fits = opens(
        key.secret,
        digest=row.secret_sha256,
        previous=row.previous_sha256,
        previous_until=row.previous_until,
        now=now,
    )
    return fits and row.lives(now=now)


async def _row(session: AsyncSession, *, tenant: str, token_id: str) -> TenantAdminRow:
    """The token, held until the transaction ends."""
    row = await session.scalar(
        select(TenantAdminRow).where(TenantAdminRow.id == token_id, TenantAdminRow.tenant == tenant).with_for_update()
    )
    if row is None:
        raise AdminTokenUnknown(f"tenant {tenant} has no admin token {token_id}: see `paddock tenant token list`")
    return row


def _event(actor: str, action: str, row: TenantAdminRow, detail: Mapping[str, Any]) -> Event:
    return Event(actor=actor, action=action, subject=row.id, tenant=row.tenant, detail=detail)


def _view(row: TenantAdminRow) -> AdminTokenView:
    return AdminTokenView(
        id=row.id,
        tenant=row.tenant,
        name=row.name,
        created_at=row.created_at.timestamp(),
        expires_at=row.expires_at,
        revoked_at=row.revoked_at.timestamp() if row.revoked_at else None,
        rotated_at=row.rotated_at.timestamp() if row.rotated_at else None,
        issued_by=row.issued_by,
        signs=row.signs,
        previous_until=row.previous_until if row.previous_until > time.time() else None,
    )
