"""API keys: issued once, stored as digests, revoked at once."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec
from paddock_core.keys import API_KEY, secret_digest
from paddock_core.policy.documents import ApiKey, Limits
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from paddock_controlplane.audit.service import Event, PolicyChange, record
from paddock_controlplane.ids import new_credential
from paddock_controlplane.keys.errors import KeyExpiryPast, KeyUnknown
from paddock_controlplane.keys.models import ApiKeyRow
from paddock_controlplane.quotas import service as quotas
from paddock_controlplane.tenants import service as tenants


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyView:
    """A key as it is shown: never its secret, nor the secret's digest. Times are Unix seconds."""

    id: str
    tenant: str
    name: str
    created_at: float
    expires_at: float | None
    revoked_at: float | None
    models: tuple[str, ...]
    limits: Limits
    project: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """A new key; `key` is shown this once."""

    id: str
    key: str
    tenant: str
    name: str
    expires_at: float | None
    models: tuple[str, ...]
    limits: Limits
    project: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyWish:
    """What a new key is to be."""

    tenant: str
    name: str = ""
    expires_at: float | None = None
    models: tuple[str, ...] = ()
    limits: Limits
    project: str = ""


async def issue(session: AsyncSession, *, wish: KeyWish, actor: str) -> NewKey:
    """Issue a key.

    Raises:
        TenantUnknown: there is no such tenant.
        ProjectUnknown: the tenant has no such project.
        KeyExpiryPast: it would have expired already.
    """
    if wish.expires_at is not None and wish.expires_at <= time.time():
        raise KeyExpiryPast("expires_at is in the past: give a later Unix time in seconds")
    await tenants.find(session, wish.tenant)
    if wish.project:
        await quotas.find_project(session, tenant=wish.tenant, name=wish.project)
    text, parsed = new_credential(API_KEY)
    digest = secret_digest(parsed.secret)
    body = ApiKey(
        id=parsed.id,
        tenant=wish.tenant,
        secret_sha256=digest,
        expires_at=wish.expires_at,
        models=wish.models,
        limits=wish.limits,
        project=wish.project,
    )
    session.add(
        ApiKeyRow(
            id=parsed.id,
            tenant=wish.tenant,
            name=wish.name,
            secret_sha256=digest,
            expires_at=wish.expires_at,
            models=list(wish.models),
            limits={name: value for name, value in msgspec.to_builtins(wish.limits).items() if value is not None},
            project=wish.project or None,
        )
    )
    await session.flush()
    await record(session, _event(actor, "key.issue", wish.tenant, parsed.id, body))
    return NewKey(
        id=parsed.id,
        key=text,
        tenant=wish.tenant,
        name=wish.name,
        expires_at=wish.expires_at,
        models=wish.models,
        limits=wish.limits,
        project=wish.project,
    )


async def list_page(session: AsyncSession, *, tenant: str, after: str, limit: int) -> list[KeyView]:
    """A tenant's keys after an id, revoked ones too, one more than `limit` if there are more."""
    rows = await session.scalars(
        select(ApiKeyRow)
        .where(ApiKeyRow.tenant == tenant, ApiKeyRow.id > after)
        .order_by(ApiKeyRow.id)
        .limit(limit + 1)
    )
    return [_view(row) for row in rows]


async def revoke(session: AsyncSession, *, tenant: str, key_id: str, actor: str) -> None:
    """Revoke a key; nothing happens if it is revoked already.

    Raises:
        KeyUnknown: the tenant has no such key.
    """
    row = await session.scalar(
        select(ApiKeyRow).where(ApiKeyRow.id == key_id, ApiKeyRow.tenant == tenant).with_for_update()
    )
    if row is None:
        raise KeyUnknown(f"tenant {tenant} has no key {key_id}: see `paddock key list`")
    if row.revoked_at is None:
        row.revoked_at = datetime.now(UTC)
        await record(session, _event(actor, "key.revoke", tenant, key_id, None))


def _event(actor: str, action: str, tenant: str, key_id: str, body: ApiKey | None) -> Event:
    change = PolicyChange(kind="api_key", id=key_id, body=body)
    return Event(actor=actor, action=action, subject=key_id, tenant=tenant, changes=[change])


def _view(row: ApiKeyRow) -> KeyView:
    return KeyView(
        id=row.id,
        tenant=row.tenant,
        name=row.name,
        created_at=row.created_at.timestamp(),
        expires_at=row.expires_at,
        revoked_at=row.revoked_at.timestamp() if row.revoked_at else None,
        models=tuple(row.models),
        limits=msgspec.convert(row.limits, Limits),
        project=row.project or "",
    )
