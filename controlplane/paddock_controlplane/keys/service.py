"""API keys: issued once, stored as digests, given new secrets with an overlap, revoked at once."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
from paddock_core.keys import API_KEY, secret_digest
from paddock_core.policy.documents import ApiKey, Limits
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from paddock_controlplane.audit.service import Event, PolicyChange, record
from paddock_controlplane.ids import new_credential
from paddock_controlplane.keys.errors import KeyEnded, KeyExpiryPast, KeyUnknown
from paddock_controlplane.keys.models import ApiKeyRow
from paddock_controlplane.prices import currency
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
    rotated_at: float | None
    previous_until: float | None
    """Until when the secret before the last rotation still opens it; null where it does not any more."""
    models: tuple[str, ...]
    scopes: tuple[str, ...]
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
    scopes: tuple[str, ...]
    limits: Limits
    project: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RotatedKey:
    """A key's new secret; `key` is shown this once. The one before it opens the key until `previous_until`."""

    id: str
    key: str
    tenant: str
    expires_at: float | None
    previous_until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyWish:
    """What a new key is to be."""

    tenant: str
    name: str = ""
    expires_at: float | None = None
    models: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    limits: Limits
    project: str = ""


async def issue(session: AsyncSession, *, wish: KeyWish, actor: str) -> NewKey:
    """Issue a key.

    Raises:
        TenantUnknown: there is no such tenant.
        ProjectUnknown: the tenant has no such project.
        CurrencyMixed: money is to be limited, and the price book is in several currencies.
        KeyExpiryPast: it would have expired already.
    """
    if wish.expires_at is not None and wish.expires_at <= time.time():
        raise KeyExpiryPast("expires_at is in the past: give a later Unix time in seconds")
    await tenants.find(session, wish.tenant)
    if wish.project:
        await quotas.find_project(session, tenant=wish.tenant, name=wish.project)
    await currency.check_limits(session, quotas.given(wish.limits))
    text, parsed = new_credential(API_KEY)
    row = ApiKeyRow(
        id=parsed.id,
        tenant=wish.tenant,
        name=wish.name,
        secret_sha256=secret_digest(parsed.secret),
        expires_at=wish.expires_at,
        models=list(wish.models),
        scopes=sorted(set(wish.scopes)),
        limits=quotas.given(wish.limits),
        project=wish.project or None,
        previous_sha256="",
        previous_until=0.0,
    )
    session.add(row)
    await session.flush()
    detail = {"expires_at": wish.expires_at, "models": row.models, "scopes": row.scopes, "project": wish.project}
    await record(session, _event(actor, "key.issue", row, body=_document(row), detail=detail))
    return NewKey(
        id=parsed.id,
        key=text,
        tenant=wish.tenant,
        name=wish.name,
        expires_at=wish.expires_at,
        models=wish.models,
        scopes=tuple(row.scopes),
        limits=wish.limits,
        project=wish.project,
    )


async def rotate(session: AsyncSession, *, tenant: str, key_id: str, overlap_seconds: float, actor: str) -> RotatedKey:
    """Give a key a new secret. The one that it has opens it for `overlap_seconds` more, any older one no longer.

    Raises:
        KeyUnknown: the tenant has no such key.
        KeyEnded: it was revoked or has expired.
    """
    row = await _living(session, tenant=tenant, key_id=key_id)
    text = row.renew(API_KEY, overlap_seconds=overlap_seconds, now=time.time())
    await session.flush()
    detail = {"overlap_seconds": overlap_seconds}
    await record(session, _event(actor, "key.rotate", row, body=_document(row), detail=detail))
    return RotatedKey(id=key_id, key=text, tenant=tenant, expires_at=row.expires_at, previous_until=row.previous_until)


async def set_limits(session: AsyncSession, *, tenant: str, key_id: str, limits: Limits, actor: str) -> KeyView:
    """Replace what a key may use. What was admitted before is settled under the limits of its admission.

    Raises:
        KeyUnknown: the tenant has no such key.
        KeyEnded: it was revoked or has expired.
        CurrencyMixed: money is to be limited, and the price book is in several currencies.
    """
    await currency.check_limits(session, quotas.given(limits))
    row = await _living(session, tenant=tenant, key_id=key_id)
    row.limits = quotas.given(limits)
    await session.flush()
    await record(session, _event(actor, "key.limits", row, body=_document(row), detail={"limits": row.limits}))
    return _view(row)


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
    row = await _row(session, tenant=tenant, key_id=key_id)
    if row.revoked_at is None:
        row.revoked_at = datetime.now(UTC)
        await record(session, _event(actor, "key.revoke", row, body=None))


async def _row(session: AsyncSession, *, tenant: str, key_id: str) -> ApiKeyRow:
    """The key, held until the transaction ends."""
    row = await session.scalar(
        select(ApiKeyRow).where(ApiKeyRow.id == key_id, ApiKeyRow.tenant == tenant).with_for_update()
    )
    if row is None:
        raise KeyUnknown(f"tenant {tenant} has no key {key_id}: see `paddock key list`")
    return row


async def _living(session: AsyncSession, *, tenant: str, key_id: str) -> ApiKeyRow:
    """The key, held until the transaction ends. Raises KeyEnded, too."""
    row = await _row(session, tenant=tenant, key_id=key_id)
    if not row.lives(now=time.time()):
        raise KeyEnded(f"key {key_id} was revoked or has expired: issue another with `paddock key create`")
    return row


def _document(row: ApiKeyRow) -> ApiKey:
    return ApiKey(
        id=row.id,
        tenant=row.tenant,
        secret_sha256=row.secret_sha256,
        expires_at=row.expires_at,
        models=tuple(row.models),
        limits=msgspec.convert(row.limits, Limits),
        project=row.project or "",
        scopes=tuple(row.scopes),
        previous_sha256=row.previous_sha256,
        previous_until=row.previous_until,
    )


def _event(
    actor: str, action: str, row: ApiKeyRow, *, body: ApiKey | None, detail: Mapping[str, Any] | None = None
) -> Event:
    change = PolicyChange(kind="api_key", id=row.id, body=body)
    return Event(actor=actor, action=action, subject=row.id, tenant=row.tenant, detail=detail, changes=[change])


def _view(row: ApiKeyRow) -> KeyView:
    return KeyView(
        id=row.id,
        tenant=row.tenant,
        name=row.name,
        created_at=row.created_at.timestamp(),
        expires_at=row.expires_at,
        revoked_at=row.revoked_at.timestamp() if row.revoked_at else None,
        rotated_at=row.rotated_at.timestamp() if row.rotated_at else None,
        previous_until=row.previous_until if row.previous_until > time.time() else None,
        models=tuple(row.models),
        scopes=tuple(row.scopes),
        limits=msgspec.convert(row.limits, Limits),
        project=row.project or "",
    )
