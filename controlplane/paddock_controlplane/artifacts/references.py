"""Who needs a model's files: made when files are asked for or used, dropped when a license ends.

The bytes go with the last reference whose entity is licensed, or at once where the platform's own license ends. All of
this is decided under one lock, so that a reference is either seen by the termination or refused by it.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from paddock_core.catalog.loader import Catalog
from paddock_core.catalog.types import LicenseEntry
from paddock_core.licensing.lineage import LineageError, trace
from paddock_core.policy.documents import Purge, RegisteredModel
from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from paddock_controlplane.artifacts.errors import PurgeUnderWay, ReferenceDenied
from paddock_controlplane.artifacts.models import ArtifactRow, PurgeRow, ReferenceRow
from paddock_controlplane.audit.service import Event, PolicyChange, record
from paddock_controlplane.ids import new_id
from paddock_controlplane.licensing.models import AcceptanceRow

OPEN = ("ordered", "started")
_LICENSED = ("active", "pending_grant", "stale", "suspended")
"""States in which an acceptance still holds on to files: a suspension is lifted or ends, it does not remove them."""
_LOCK = func.pg_advisory_xact_lock(func.hashtextextended("artifacts", 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """What is known of models: of the catalogue, registered ones, and those whose registration was deleted."""

    catalog: Catalog
    registered: Mapping[str, RegisteredModel]
    deleted: Mapping[str, tuple[str, ...]]
    """Licenses of deleted ones: their files may lie here still."""

    def licenses(self, model: str) -> tuple[LicenseEntry, ...]:
        """The licenses of what a model is, or was, made of; none where its lineage cannot be followed."""
        try:
            names = trace(model=model, registered=self.registered, catalog=self.catalog).licenses
        except LineageError:
            names = self.deleted.get(model, ())
        return tuple(self.catalog.licenses[name] for name in names if name in self.catalog.licenses)

    def under(self, license_id: str) -> list[str]:
        """Every model that is, or was, made of something under a license."""
        names = {*self.catalog.models, *self.registered, *self.deleted}
        return sorted(name for name in names if license_id in _ids(self.licenses(name)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """An entity uses a model's files; digests where they are known."""

    entity: str
    model: str
    weights: str | None = None
    tokenizer: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A license of an entity ended: `cause` is the acceptance. `operator` where it is the platform's own entity."""

    entity: str
    license: str
    cause: str
    operator: bool


async def lock(session: AsyncSession) -> None:
    """Until the transaction ends, nobody else changes references, artifacts or purges."""
    await session.execute(select(_LOCK))


async def refer(session: AsyncSession, *, models: Models, use: Use, actor: str) -> None:
    """Write down that an entity needs a model's files. An order to remove them that has not begun is withdrawn.

    Raises:
        PurgeUnderWay: they are being removed now; afterwards they are fetched anew.
        ReferenceDenied: the entity's license of the model ended, or it never had one.
    """
    await lock(session)
    order = await session.scalar(select(PurgeRow).where(PurgeRow.model == use.model, PurgeRow.state.in_(OPEN)))
    if order is not None and (order.state == "started" or order.why == "operator"):
        raise PurgeUnderWay(f"the files of {use.model} are being removed ({order.id}): ask again when that is done")
    if not await _licensed(session, models, use.entity, use.model):
        raise ReferenceDenied(f"{use.entity} has no standing acceptance for {use.model}: it accepts, then asks again")
    for kind, digest in (("weights", use.weights), ("tokenizer", use.tokenizer)):
        if digest is not None:
            await note(session, model=use.model, digest=digest, kind=kind)
    added = await session.scalar(
        insert(ReferenceRow)
        .values(entity=use.entity, model=use.model)
        .on_conflict_do_nothing()
        .returning(ReferenceRow.model)
    )
    if added is None and order is None:
        return
    changes = []
    if order is not None:
        order.state, order.ended_at = "withdrawn", time.time()
        changes.append(PolicyChange(kind="purge", id=order.id, body=None))
    detail = {} if order is None else {"withdrawn": order.id}
    await session.flush()
    await record(session, _event(actor, "artifact.refer", use.model, use.entity, detail, changes))


async def not_going(session: AsyncSession, *, model: str) -> None:
    """Raises PurgeUnderWay if the model's files are to be removed: what is fetched meanwhile might stay."""
    await lock(session)
    order = await session.scalar(select(PurgeRow.id).where(PurgeRow.model == model, PurgeRow.state.in_(OPEN)))
    if order is not None:
        raise PurgeUnderWay(f"the files of {model} are being removed ({order}): ask again when that is done")


async def note(session: AsyncSession, *, model: str, digest: str, kind: str) -> None:
    """Write down that a digest lies somewhere for a model."""
    values = {"model": model, "digest": digest.removeprefix("sha256:"), "kind": kind}
    await session.execute(insert(ArtifactRow).values(**values).on_conflict_do_nothing())


async def drop(session: AsyncSession, *, models: Models, ended: Ended, actor: str) -> list[PurgeRow]:
    """Drop what an ended license holds, and order the removal of what nobody licensed needs any more.

    The acceptances must have their new states already.
    """
    await lock(session)
    concerned = [name for name in await _known(session) if ended.license in _ids(models.licenses(name))]
    dropped = delete(ReferenceRow).where(ReferenceRow.model.in_(concerned))
    if not ended.operator:
        dropped = dropped.where(ReferenceRow.entity == ended.entity)
    gone = await session.execute(dropped.returning(ReferenceRow.entity, ReferenceRow.model))
    lost = sorted({(entity, model) for entity, model in gone})
    to_go = concerned if ended.operator else [model for _, model in lost]
    unneeded = [model for model in to_go if ended.operator or not await _needed(session, models, model)]
    orders = [await _order(session, model, ended) for model in unneeded]
    await session.flush()
    if lost:
        detail = {"license": ended.license, "cause": ended.cause, "dropped": [f"{one} {two}" for one, two in lost]}
        await record(session, _event(actor, "artifact.drop", ended.cause, ended.entity, detail))
    for order in orders:
        detail = {"purge": order.id, "license": order.license, "why": order.why, "cause": order.cause}
        changes = [await change(session, order)]
        await record(session, _event(actor, "artifact.purge_order", order.model, ended.entity, detail, changes))
    return orders


async def change(session: AsyncSession, order: PurgeRow) -> PolicyChange:
    """What followers learn of an order: one that is over is gone."""
    if order.state not in OPEN:
        return PolicyChange(kind="purge", id=order.id, body=None)
    weights = await session.scalars(
        select(ArtifactRow.digest)
        .where(ArtifactRow.model == order.model, ArtifactRow.kind == "weights")
        .order_by(ArtifactRow.digest)
    )
    body = Purge(id=order.id, model=order.model, state=order.state, why=order.why, weights=tuple(weights))
    return PolicyChange(kind="purge", id=order.id, body=body)


async def _known(session: AsyncSession) -> list[str]:
    """Models of which anything is needed or there."""
    query = select(ReferenceRow.model).union(select(ArtifactRow.model))
    return sorted(str(name) for name in await session.scalars(query))


async def _needed(session: AsyncSession, models: Models, model: str) -> bool:
    """True if an entity that is licensed needs the model's files."""
    rows = list(await session.scalars(select(ReferenceRow).where(ReferenceRow.model == model)))
    return any([await _licensed(session, models, row.entity, model) for row in rows])


async def _licensed(session: AsyncSession, models: Models, entity: str, model: str) -> bool:
    """True if the entity has a standing acceptance of every license of the model that asks for one, and none ended."""
    for entry in models.licenses(model):
        states = set(
            await session.scalars(
                select(AcceptanceRow.state).where(AcceptanceRow.entity == entity, AcceptanceRow.license == entry.id)
            )
        )
        asks = any(clause.type == "acceptance" for clause in entry.clauses)
        if "terminated" in states or (asks and states.isdisjoint(_LICENSED)):
            return False
    return bool(models.licenses(model))


async def _order(session: AsyncSession, model: str, ended: Ended) -> PurgeRow:
    """The open order for a model, a new one where there is none. The platform's own end cannot be withdrawn."""
    order: PurgeRow | None = await session.scalar(
        select(PurgeRow).where(PurgeRow.model == model, PurgeRow.state.in_(OPEN))
    )
    if order is None:
        order = PurgeRow(
            id=new_id("pur"),
            model=model,
            state="ordered",
            why="last_reference",
            cause=ended.cause,
            license=ended.license,
            ordered_at=time.time(),
            removed=[],
            kept=[],
            bytes=0,
        )
        session.add(order)
    if ended.operator:
        order.why = "operator"
    await session.flush()
    return order


def _ids(entries: tuple[LicenseEntry, ...]) -> set[str]:
    return {entry.id for entry in entries}


def _event(
    actor: str,
    action: str,
    subject: str,
    entity: str,
    detail: Mapping[str, object],
    changes: Sequence[PolicyChange] = (),
) -> Event:
    return Event(actor=actor, action=action, subject=subject, entity=entity, detail=detail, changes=changes)
