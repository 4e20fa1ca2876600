"""Tenants, their limits and their namespaces."""

from dataclasses import dataclass, replace

import msgspec
from paddock_core.keys import TENANT_ADMIN, secret_digest
from paddock_core.policy.documents import Limits, Namespace, Tenant
from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from paddock_controlplane.audit.service import Event, PolicyChange, record
from paddock_controlplane.entities import service as entities
from paddock_controlplane.ids import new_credential
from paddock_controlplane.prices import currency
from paddock_controlplane.tenants.errors import (
    NamespaceReserved,
    NamespaceTaken,
    NamespaceUnknown,
    TenantExists,
    TenantUnknown,
)
from paddock_controlplane.tenants.models import NamespaceRow, TenantAdminRow, TenantRow

_RESERVED = ("kube-", "paddock-")
"""Beginnings of namespaces that no tenant may own: the cluster's, and those where weights and pods live."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTenant:
    """A tenant and its first admin token, which is shown this once."""

    tenant: Tenant
    admin_token: str


def document(row: TenantRow) -> Tenant:
    """The row as the policy object that it is."""
    return Tenant(
        id=row.id,
        entity=row.entity,
        priced=row.priced,
        limits=msgspec.convert(row.limits, Limits),
        end_user_limits=msgspec.convert(row.end_user_limits, Limits),
        end_user_groups=tuple(row.end_user_groups),
        gpus=row.gpus,
    )


async def create(session: AsyncSession, *, tenant: Tenant, actor: str) -> NewTenant:
    """Create a tenant of an entity.

    Raises:
        EntityUnknown: the entity is not registered.
        TenantExists: the id is taken.
        CurrencyMixed: money is to be limited, and the price book is in several currencies.
    """
    await currency.check_limits(session, _given(tenant.limits))
    # Held, so that of two tenants made at once only one is the entity's first.
    await entities.find(session, tenant.entity, lock=True)
    first = await session.scalar(select(TenantRow.id).where(TenantRow.entity == tenant.entity).limit(1)) is None
    added = await session.execute(
        insert(TenantRow)
        .values(
            id=tenant.id,
            entity=tenant.entity,
            priced=tenant.priced,
            limits=_given(tenant.limits),
            gpus=tenant.gpus,
        )
        .on_conflict_do_nothing()
        .returning(TenantRow.id)
    )
    if added.scalar_one_or_none() is None:
        raise TenantExists(f"tenant {tenant.id} is already there: choose another id")
    token, parsed = new_credential(TENANT_ADMIN)
    session.add(
        TenantAdminRow(
            id=parsed.id,
            tenant=tenant.id,
            secret_sha256=secret_digest(parsed.secret),
            issued_by=actor,
            # A second tenant is no way for the platform to a second token of the entity that signs.
            signs=first,
        )
    )
    await record(session, _event(actor, "tenant.create", tenant, admin=parsed.id, signs=first))
    return NewTenant(tenant=tenant, admin_token=token)


async def find(session: AsyncSession, tenant_id: str) -> Tenant:
    """One tenant.

    Raises:
        TenantUnknown: there is none with this id.
    """
    return document(await _row(session, tenant_id))


async def list_page(session: AsyncSession, *, after: str, limit: int) -> list[Tenant]:
    """Tenants after an id, one more than `limit` if there are more."""
    rows = await session.scalars(select(TenantRow).where(TenantRow.id > after).order_by(TenantRow.id).limit(limit + 1))
    return [document(row) for row in rows]


async def set_limits(session: AsyncSession, *, tenant_id: str, limits: Limits, actor: str) -> Tenant:
    """Replace a tenant's limits.

    Raises:
        CurrencyMixed: money is to be limited, and the price book is in several currencies.
    """
    await currency.check_limits(session, _given(limits))
    row = await _row(session, tenant_id, lock=True)
    row.limits = _given(limits)
    tenant = replace(document(row), limits=limits)
    await record(session, _event(actor, "tenant.limits", tenant, limits=_given(limits)))
    return tenant


async def set_end_user_limits(session: AsyncSession, *, tenant_id: str, limits: Limits, actor: str) -> Tenant:
    """Replace what each end user may use whom the tenant's requests name.

    Raises:
        CurrencyMixed: money is to be limited, and the price book is in several currencies.
    """
    await currency.check_limits(session, _given(limits))
    row = await _row(session, tenant_id, lock=True)
    row.end_user_limits = _given(limits)
    tenant = replace(document(row), end_user_limits=limits)
    await record(session, _event(actor, "tenant.end_user_limits", tenant, limits=_given(limits)))
    return tenant


async def set_end_user_groups(session: AsyncSession, *, tenant_id: str, groups: tuple[str, ...], actor: str) -> Tenant:
    """Replace the groups of end users that the tenant's reports tell apart."""
    row = await _row(session, tenant_id, lock=True)
    row.end_user_groups = sorted(set(groups))
    tenant = document(row)
    await record(session, _event(actor, "tenant.end_user_groups", tenant, groups=row.end_user_groups))
    return tenant


async def set_gpus(session: AsyncSession, *, tenant_id: str, gpus: int | None, actor: str) -> Tenant:
    """Set how many GPUs a tenant's deployments may be charged together; None: as many as the platform gives everybody.

    What runs beyond a lower figure goes on; nothing is added to it.

    Raises:
        TenantUnknown: there is no such tenant.
    """
    row = await _row(session, tenant_id, lock=True)
    before, row.gpus = row.gpus, gpus
    tenant = replace(document(row), gpus=gpus)
    await record(session, _event(actor, "tenant.gpus", tenant, gpus=gpus, before=before))
    return tenant


async def add_namespace(session: AsyncSession, *, tenant_id: str, name: str, actor: str) -> Namespace:
    """Give a namespace to a tenant; nothing happens if it has it already.

    Raises:
        NamespaceReserved: tenants may not own it.
        NamespaceTaken: it belongs to another tenant.
    """
    if name.startswith(_RESERVED) or name == "default":
        raise NamespaceReserved(f"namespace {name} cannot belong to a tenant: choose another name")
    await _row(session, tenant_id)
    namespace = Namespace(id=name, tenant=tenant_id)
    added = await session.execute(
        insert(NamespaceRow).values(id=name, tenant=tenant_id).on_conflict_do_nothing().returning(NamespaceRow.id)
    )
    if added.scalar_one_or_none() is None:
        owner = await session.scalar(select(NamespaceRow.tenant).where(NamespaceRow.id == name))
        if owner != tenant_id:
            raise NamespaceTaken(f"namespace {name} belongs to another tenant: take it away from that one first")
        return namespace
    change = PolicyChange(kind="namespace", id=name, body=namespace)
    await record(session, Event(actor=actor, action="namespace.add", subject=name, tenant=tenant_id, changes=[change]))
    return namespace


async def remove_namespace(session: AsyncSession, *, tenant_id: str, name: str, actor: str) -> None:
    """Take a namespace away from a tenant.

    Raises:
        NamespaceUnknown: the tenant does not have it.
    """
    removed = await session.execute(
        delete(NamespaceRow).where(NamespaceRow.id == name, NamespaceRow.tenant == tenant_id).returning(NamespaceRow.id)
    )
    if removed.scalar_one_or_none() is None:
        raise NamespaceUnknown(f"tenant {tenant_id} has no namespace {name}")
    change = PolicyChange(kind="namespace", id=name, body=None)
    await record(
        session, Event(actor=actor, action="namespace.remove", subject=name, tenant=tenant_id, changes=[change])
    )


async def namespaces(session: AsyncSession, tenant_id: str) -> list[Namespace]:
    """Every namespace of a tenant."""
    rows = await session.scalars(select(NamespaceRow).where(NamespaceRow.tenant == tenant_id).order_by(NamespaceRow.id))
    return [Namespace(id=row.id, tenant=row.tenant) for row in rows]


async def _row(session: AsyncSession, tenant_id: str, *, lock: bool = False) -> TenantRow:
    row = await session.get(TenantRow, tenant_id, with_for_update=lock or None)
    if row is None:
        raise TenantUnknown(f"no tenant {tenant_id}: create it with `paddock tenant create`")
    return row


def _event(actor: str, action: str, tenant: Tenant, **detail: object) -> Event:
    return Event(
        actor=actor,
        action=action,
        subject=tenant.id,
        tenant=tenant.id,
        entity=tenant.entity,
        detail=detail,
        changes=[PolicyChange(kind="tenant", id=tenant.id, body=tenant)],
    )


def _given(limits: Limits) -> dict[str, int]:
    return {name: value for name, value in msgspec.to_builtins(limits).items() if value is not None}
