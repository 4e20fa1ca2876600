"""Registering legal entities."""

from dataclasses import replace
from typing import Any

import msgspec
from paddock_core.policy.documents import Entity
from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from paddock_controlplane.audit.service import Event, PolicyChange, record
from paddock_controlplane.entities.errors import EntityExists, EntityUnknown, OperatorExists
from paddock_controlplane.entities.models import AffiliationRow, EntityRow


def document(row: EntityRow) -> Entity:
    """The row as the policy object that it is."""
    return Entity(
        id=row.id,
        legal_name=row.legal_name,
        principal_place_of_business=row.principal_place_of_business,
        affiliates=tuple(item.affiliate for item in row.affiliates),
        receives_integrated_product=row.receives_integrated_product,
        is_operator=row.is_operator,
        domicile=row.domicile,
    )


def entity_record(entity: Entity) -> dict[str, Any]:
    """All of the record that the audit chain binds."""
    return {**msgspec.to_builtins(entity), "affiliates": sorted(entity.affiliates)}


def entity_change(entity: Entity) -> PolicyChange:
    """What followers learn of an entity; the audit entry binds it."""
    return PolicyChange(kind="entity", id=entity.id, body=entity, record=entity_record(entity), entity=entity.id)


async def register(session: AsyncSession, *, entity: Entity, actor: str) -> Entity:
    """Register an entity.

    Raises:
        EntityExists: the id is taken.
        OperatorExists: it is to be the operator, and another one is.
    """
    added = await session.execute(
        insert(EntityRow)
        .values(
            id=entity.id,
            legal_name=entity.legal_name,
            principal_place_of_business=entity.principal_place_of_business,
            receives_integrated_product=entity.receives_integrated_product,
            is_operator=entity.is_operator,
            domicile=entity.domicile,
        )
        .on_conflict_do_nothing()
        .returning(EntityRow.id)
    )
    if added.scalar_one_or_none() is None:
        if await session.get(EntityRow, entity.id) is not None:
            raise EntityExists(f"entity {entity.id} is already registered: choose another id")
        raise OperatorExists("this platform has its operator already: register the entity without is_operator")
    session.add_all(AffiliationRow(entity=entity.id, affiliate=name) for name in entity.affiliates)
    event = Event(
        actor=actor,
        action="entity.register",
        subject=entity.id,
        entity=entity.id,
        detail={"country": entity.principal_place_of_business, "is_operator": entity.is_operator},
        changes=[entity_change(entity)],
    )
    await record(session, event)
    return entity


async def update(session: AsyncSession, *, entity: Entity, actor: str) -> Entity:
    """Write down that the entity is another than it was registered as: all followers decide anew.

    Who runs the platform does not change; statements and acceptances stand as they were signed.

    Raises:
        EntityUnknown: it is not registered.
    """
    before = await find(session, entity.id, lock=True)
    after = replace(entity, is_operator=before.is_operator)
    if after == before:
        return before
    row = await session.get_one(EntityRow, entity.id)
    row.legal_name, row.domicile = after.legal_name, after.domicile
    row.principal_place_of_business = after.principal_place_of_business
    row.receives_integrated_product = after.receives_integrated_product
    await session.execute(delete(AffiliationRow).where(AffiliationRow.entity == entity.id))
    await session.flush()
    if after.affiliates:
        names = [{"entity": entity.id, "affiliate": name} for name in after.affiliates]
        await session.execute(insert(AffiliationRow).values(names))
    session.expire(row)
    changed = [name for name in Entity.__dataclass_fields__ if getattr(before, name) != getattr(after, name)]
    detail = {"changed": changed, "country": after.principal_place_of_business, "domicile": after.domicile}
    event = Event(
        actor=actor,
        action="entity.update",
        subject=entity.id,
        entity=entity.id,
        detail=detail,
        changes=[entity_change(after)],
    )
    await record(session, event)
    return after


async def find(session: AsyncSession, entity_id: str, *, lock: bool = False) -> Entity:
    """One entity; with `lock` nobody else changes it until the transaction ends.

    Raises:
        EntityUnknown: there is none with this id.
    """
    row = await session.get(EntityRow, entity_id, with_for_update=lock or None)
    if row is None:
        raise EntityUnknown(f"no entity {entity_id}: register it with `paddock entity create`")
    return document(row)


async def list_page(session: AsyncSession, *, after: str, limit: int) -> list[Entity]:
    """Entities after an id, one more than `limit` if there are more."""
    rows = await session.scalars(select(EntityRow).where(EntityRow.id > after).order_by(EntityRow.id).limit(limit + 1))
    return [document(row) for row in rows]
