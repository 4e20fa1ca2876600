"""Projects, the platform's own limits, and where every limit stands."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from paddock_core.policy.documents import Limits, PlatformLimits, Project
from paddock_core.quotas.kinds import KINDS, NANO, RATE
from paddock_core.quotas.rates import Bucket
from sqlalchemy import delete, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from paddock_controlplane.audit.service import Event, PolicyChange, record
from paddock_controlplane.db import EVERYTHING
from paddock_controlplane.keys.models import ApiKeyRow
from paddock_controlplane.prices import currency
from paddock_controlplane.quotas.accounts import parts
from paddock_controlplane.quotas.errors import ProjectInUse, ProjectUnknown
from paddock_controlplane.quotas.models import AccountRow, PlatformLimitsRow, ProjectRow
from paddock_controlplane.quotas.store import Account
from paddock_controlplane.tenants import service as tenants

PLATFORM = "platform"
_NOW = text("SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint) * 1000")


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where one limit of one level stands. Units are requests, tokens or nano-units, as the limit's name says."""

    id: str
    level: str
    kind: str
    period: str
    limit: int
    spent: int
    """What the ledger shows; for a rate, what has not drained yet."""
    leased: int
    """What gateways hold beyond that: reserved, in advance, or not yet in the ledger."""
    remaining: int
    currency: str = ""
    """Of a limit of money: the price book's; empty for others, and while there is no price."""


def given(limits: Limits) -> dict[str, int]:
    """The limits that are set."""
    return {name: value for name, value in msgspec.to_builtins(limits).items() if value is not None}


async def put_project(session: AsyncSession, *, tenant: str, name: str, limits: Limits, actor: str) -> Project:
    """Create a project or replace its limits.

    Raises:
        TenantUnknown: there is no such tenant.
        CurrencyMixed: money is to be limited, and the price book is in several currencies.
    """
    await tenants.find(session, tenant)
    await currency.check_limits(session, given(limits))
    statement = insert(ProjectRow).values(tenant=tenant, name=name, limits=given(limits))
    await session.execute(
        statement.on_conflict_do_update(index_elements=["tenant", "name"], set_={"limits": statement.excluded.limits})
    )
    project = Project(id=f"{tenant}/{name}", tenant=tenant, limits=limits)
    await record(session, _event(actor, "project.set", tenant, project.id, project, limits=given(limits)))
    return project


async def list_projects(session: AsyncSession, *, tenant: str, after: str, limit: int) -> list[Project]:
    """A tenant's projects after an id, one more than `limit` if there are more."""
    rows = await session.scalars(
        select(ProjectRow)
        .where(ProjectRow.tenant == tenant, ProjectRow.name > after.rpartition("/")[2])
        .order_by(ProjectRow.name)
        .limit(limit + 1)
    )
    return [
        Project(id=f"{row.tenant}/{row.name}", tenant=row.tenant, limits=msgspec.convert(row.limits, Limits))
        for row in rows
    ]


async def find_project(session: AsyncSession, *, tenant: str, name: str) -> None:
    """Raises ProjectUnknown if the tenant has no such project."""
    if await session.get(ProjectRow, (tenant, name)) is None:
        raise ProjectUnknown(f"tenant {tenant} has no project {name}: make it with `paddock quota set --project`")


async def remove_project(session: AsyncSession, *, tenant: str, name: str, actor: str) -> None:
    """Remove a project that no key was ever issued for.

    Raises:
        ProjectUnknown: the tenant has no such project.
        ProjectInUse: keys belong to it, revoked ones included, for the ledger's sake.
    """
    keys = await session.scalar(
        select(func.count()).select_from(ApiKeyRow).where(ApiKeyRow.tenant == tenant, ApiKeyRow.project == name)
    )
    if keys:
        raise ProjectInUse(f"{keys} keys belong to project {name}, and the ledger names it: lift its limits instead")
    await find_project(session, tenant=tenant, name=name)
    await session.execute(delete(ProjectRow).where(ProjectRow.tenant == tenant, ProjectRow.name == name))
    await record(session, _event(actor, "project.remove", tenant, f"{tenant}/{name}", None))


async def set_platform(session: AsyncSession, *, limits: Limits, actor: str) -> PlatformLimits:
    """Replace what all tenants together may use.

    Raises:
        CurrencyMixed: money is to be limited, and the price book is in several currencies.
    """
    await currency.check_limits(session, given(limits))
    statement = insert(PlatformLimitsRow).values(id=PLATFORM, limits=given(limits))
    await session.execute(
        statement.on_conflict_do_update(index_elements=["id"], set_={"limits": statement.excluded.limits})
    )
    body = PlatformLimits(limits=limits)
    change = PolicyChange(kind="platform_limits", id=PLATFORM, body=body)
    detail = {"limits": given(limits)}
    await record(
        session, Event(actor=actor, action="platform.limits", subject=PLATFORM, detail=detail, changes=[change])
    )
    return body


async def platform(session: AsyncSession) -> PlatformLimits:
    """What all tenants together may use."""
    row = await session.get(PlatformLimitsRow, PLATFORM)
    return PlatformLimits(limits=msgspec.convert(row.limits, Limits) if row is not None else Limits())


async def standings(
    session: AsyncSession, *, tenant: str | None, after: str, limit: int, beside: Sequence[Account] = ()
) -> list[Standing]:
    """Where limits stand that gateways asked about, by level, kind and period. `beside` are accounts of another store,
    of which the session's scope sees its own."""
    now = int((await session.execute(_NOW)).scalar_one())
    place = func.concat(AccountRow.level, " ", AccountRow.kind, " ", AccountRow.period).collate("C")
    query = select(AccountRow).where(place > after, AccountRow.summed).order_by(place).limit(limit + 1)
    if tenant is not None:
        query = query.where(AccountRow.tenant == tenant)
    money = "".join((await currency.in_use(session))[:1])
    found = [_standing(row, now, money) for row in await session.scalars(query)]
    if beside:
        found += [one for one in await _beside(session, beside, tenant) if one.id > after]
        found.sort(key=lambda one: one.id)
    return found[: limit + 1]


async def _beside(session: AsyncSession, accounts: Sequence[Account], tenant: str | None) -> list[Standing]:
    """Standings of the accounts that belong to a tenant, or to one whom the session may see."""
    scope = str((await session.execute(text("SELECT current_setting('paddock.tenant', true)"))).scalar_one())
    own = tenant or (None if scope == EVERYTHING.tenant else scope)
    keys = set() if own is None else set(await session.scalars(select(ApiKeyRow.id).where(ApiKeyRow.tenant == own)))

    def belongs(level: str) -> bool:
        what, (first, _) = parts(level)
        return own is None or (first in keys if what == "key" else first == own)

    return [_of_account(account) for account in accounts if belongs(account.level)]


def _of_account(account: Account) -> Standing:
    row = AccountRow(
        level=account.level,
        kind=account.kind,
        period="",
        ceiling=account.limit,
        spent=0,
        leased=account.leased,
        bucket=0 if account.bucket is None else account.bucket.level,
        at=0 if account.bucket is None else account.bucket.at,
    )
    return _standing(row, account.now, "")


def _standing(row: AccountRow, now: int, money: str) -> Standing:
    place = f"{row.level} {row.kind} {row.period}"
    names: Mapping[str, Any] = {
        "id": place,
        "level": row.level,
        "kind": row.kind,
        "period": row.period,
        "limit": row.ceiling,
        "currency": money if KINDS[row.kind].unit == NANO else "",
    }
    if KINDS[row.kind].shape == RATE:
        bucket = Bucket(level=int(row.bucket), at=row.at)
        bucket.drain(row.ceiling, now)
        room = bucket.room(row.ceiling)
        return Standing(**names, spent=max(0, row.ceiling - room), leased=0, remaining=room)
    remaining = max(0, row.ceiling - row.spent - row.leased)
    return Standing(**names, spent=row.spent, leased=row.leased, remaining=remaining)


def _event(actor: str, action: str, tenant: str, subject: str, body: Project | None, **detail: object) -> Event:
    change = PolicyChange(kind="project", id=subject, body=body)
    return Event(actor=actor, action=action, subject=subject, tenant=tenant, detail=detail, changes=[change])
