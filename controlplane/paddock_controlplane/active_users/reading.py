"""Reading active users: of tenants by product and day, and what is known of their entities.

A tenant's users are the union over its products. Tenants of one entity cannot be united (their hashes are keyed
differently), so an entity is a span. Estimating is arithmetic over 16 KiB a sketch: it is done in a thread.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import reduce

from paddock_core.active_users.errors import SketchInvalidError
from paddock_core.active_users.sketch import CONFIDENCE, EMPTY, Estimate, decode, estimate, merge
from paddock_core.active_users.thresholds import Span, reached, span_of, threshold_of
from paddock_core.catalog.loader import Catalog
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from paddock_controlplane.active_users.errors import StoredSketchDamaged
from paddock_controlplane.active_users.models import UsersDayRow, UsersMonthRow
from paddock_controlplane.licensing.models import AcceptanceRow
from paddock_controlplane.tenants.models import TenantRow

_ENDED = ("revoked", "terminated", "superseded")
"""States of acceptances whose license's threshold is of no more interest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductUsers:
    """Distinct users of a served deployment, with 95 % confidence between `low` and `high`."""

    product: str
    users: int
    low: int
    high: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DayUsers:
    """Distinct users of a day (UTC), over all products."""

    day: str
    users: int
    low: int
    high: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantUsers:
    """Distinct users of a tenant in a month, over all products: who uses two of them is one."""

    tenant: str
    entity: str
    users: int
    low: int
    high: int
    products: list[ProductUsers]
    days: list[DayUsers]
    """Only where asked for, and as far as daily figures are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveUsers:
    """Tenants with users in a month, in the order of their ids. `next` is the `after` of the next page."""

    month: str
    confidence: float
    items: list[TenantUsers]
    next: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Nearness:
    """How near an entity comes to the threshold of a license that it accepted."""

    license: str
    value: int
    """The license's number of monthly active users."""
    share_low: float
    share_high: float
    """Of that number: at least and at most."""
    warning: int | None
    """The highest of 50, 75 and 90 percent that the entity may have reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EntityUsers:
    """Distinct users of an entity's tenants: at least those of the largest, at most the sum."""

    entity: str
    low: int
    high: int
    tenants: int
    thresholds: list[Nearness]


@dataclass(frozen=True, slots=True, kw_only=True)
class EntitiesUsers:
    """Entities with users in a month, in the order of their ids. `next` is the `after` of the next page."""

    month: str
    confidence: float
    items: list[EntityUsers]
    next: str | None


async def tenants(
    session: AsyncSession, *, month: str, tenant: str | None, by_day: bool, after: str, limit: int
) -> ActiveUsers:
    """A page of the tenants that the caller may see."""
    query = select(UsersMonthRow.tenant).distinct().where(UsersMonthRow.month == month, UsersMonthRow.tenant > after)
    if tenant is not None:
        query = query.where(UsersMonthRow.tenant == tenant)
    ids = list(await session.scalars(query.order_by(UsersMonthRow.tenant).limit(limit + 1)))
    shown = ids[:limit]
    entities = await _entities_of(session, shown)
    products = await _products(session, month, shown)
    days = await _days(session, month, shown) if by_day else {}
    found = [
        await asyncio.to_thread(_tenant, name, entities[name], products[name], days.get(name, {})) for name in shown
    ]
    return ActiveUsers(month=month, confidence=CONFIDENCE, items=found, next=shown[-1] if len(ids) > limit else None)


async def entities(
    session: AsyncSession, *, catalog: Catalog, month: str, after: str, limit: int, only: Sequence[str] | None = None
) -> EntitiesUsers:
    """A page of the entities whose tenants had users; `only` these, where given."""
    query = (
        select(TenantRow.entity)
        .distinct()
        .where(TenantRow.id.in_(select(UsersMonthRow.tenant).where(UsersMonthRow.month == month)))
        .where(TenantRow.entity > after)
    )
    if only is not None:
        query = query.where(TenantRow.entity.in_(only))
    ids = list(await session.scalars(query.order_by(TenantRow.entity).limit(limit + 1)))
    shown = ids[:limit]
    found = [await entity(session, catalog=catalog, month=month, entity_id=name) for name in shown]
    return EntitiesUsers(month=month, confidence=CONFIDENCE, items=found, next=shown[-1] if len(ids) > limit else None)


async def entity(session: AsyncSession, *, catalog: Catalog, month: str, entity_id: str) -> EntityUsers:
    """What is known of one entity."""
    members = list(await session.scalars(select(TenantRow.id).where(TenantRow.entity == entity_id)))
    products = await _products(session, month, members)
    estimates = [await asyncio.to_thread(_together, held.values()) for held in products.values()]
    span = span_of(estimates)
    accepted = await session.scalars(
        select(AcceptanceRow.license)
        .distinct()
        .where(AcceptanceRow.entity == entity_id, AcceptanceRow.state.not_in(_ENDED))
        .order_by(AcceptanceRow.license)
    )
    return EntityUsers(
        entity=entity_id,
        low=span.low,
        high=span.high,
        tenants=len(estimates),
        thresholds=_thresholds(catalog, accepted, span),
    )


def _thresholds(catalog: Catalog, licenses: Iterable[str], span: Span) -> list[Nearness]:
    entries = (catalog.licenses[name] for name in licenses if name in catalog.licenses)
    return [
        Nearness(
            license=threshold.license,
            value=threshold.value,
            share_low=round(span.low / threshold.value, 6),
            share_high=round(span.high / threshold.value, 6),
            warning=max(reached(span, threshold), default=None),
        )
        for threshold in map(threshold_of, entries)
        if threshold is not None
    ]


async def _entities_of(session: AsyncSession, ids: Sequence[str]) -> dict[str, str]:
    found = await session.execute(select(TenantRow.id, TenantRow.entity).where(TenantRow.id.in_(ids)))
    return {row.id: row.entity for row in found}


async def _products(session: AsyncSession, month: str, ids: Sequence[str]) -> dict[str, dict[str, bytes]]:
    """Encoded sketches by tenant and product."""
    rows = await session.execute(
        select(UsersMonthRow.tenant, UsersMonthRow.product, UsersMonthRow.sketch)
        .where(UsersMonthRow.month == month, UsersMonthRow.tenant.in_(ids))
        .order_by(UsersMonthRow.tenant, UsersMonthRow.product)
    )
    found: dict[str, dict[str, bytes]] = defaultdict(dict)
    for name, product, sketch in rows:
        found[name][product] = sketch
    return found


async def _days(session: AsyncSession, month: str, ids: Sequence[str]) -> dict[str, dict[date, list[bytes]]]:
    """Encoded sketches by tenant and day."""
    first = date.fromisoformat(f"{month}-01")
    following = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
    rows = await session.execute(
        select(UsersDayRow.tenant, UsersDayRow.day, UsersDayRow.sketch)
        .where(UsersDayRow.tenant.in_(ids), UsersDayRow.day >= first, UsersDayRow.day < following)
        .order_by(UsersDayRow.tenant, UsersDayRow.day)
    )
    found: dict[str, dict[date, list[bytes]]] = defaultdict(lambda: defaultdict(list))
    for name, day, sketch in rows:
        found[name][day].append(sketch)
    return found


def _tenant(name: str, entity_id: str, products: dict[str, bytes], days: dict[date, list[bytes]]) -> TenantUsers:
    whole = _together(products.values())
    return TenantUsers(
        tenant=name,
        entity=entity_id,
        users=whole.users,
        low=whole.low,
        high=whole.high,
        products=[
            ProductUsers(product=product, users=own.users, low=own.low, high=own.high)
            for product, own in ((product, _together([sketch])) for product, sketch in products.items())
        ],
        days=[
            DayUsers(day=day.isoformat(), users=own.users, low=own.low, high=own.high)
            for day, own in ((day, _together(sketches)) for day, sketches in days.items())
        ],
    )


def _together(sketches: Iterable[bytes]) -> Estimate:
    try:
        return estimate(reduce(merge, map(decode, sketches), EMPTY))
    except SketchInvalidError as error:
        raise StoredSketchDamaged(
            f"a sketch of active users in the database: {error}: restore it from a backup"
        ) from error
