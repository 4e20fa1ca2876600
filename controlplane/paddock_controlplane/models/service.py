"""Registered models: what somebody made from a model of the catalogue, or from another registered one.

A registration is an act under the base's license, so `judged` comes before every write; it reads the policy's own copy,
since lineages cross tenants, while the writes are bound by row-level security.
"""

import time
from dataclasses import dataclass, replace

import msgspec
from paddock_core.catalog.loader import Catalog
from paddock_core.catalog.types import ModelEntry, WeightSet
from paddock_core.licensing.lineage import LineageError, trace
from paddock_core.licensing.registration import RegistrationError, judge
from paddock_core.licensing.types import Decision, Facts
from paddock_core.policy.documents import RegisteredModel
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from paddock_controlplane.audit import denials
from paddock_controlplane.audit.denials import Denial
from paddock_controlplane.audit.service import Event, PolicyChange, record
from paddock_controlplane.call import State
from paddock_controlplane.db import EVERYTHING
from paddock_controlplane.models import deleted
from paddock_controlplane.models.errors import (
    ModelExists,
    ModelImmutable,
    ModelInUse,
    ModelManaged,
    ModelNotRegistered,
    RegistrationDenied,
    TooManyModels,
    problem,
)
from paddock_controlplane.models.tables import RegisteredModelRow

API, CLUSTER = "api", "cluster"
_MOST = 500
"""Models that one owner may have registered."""
_CHANGEABLE = ("public_name", "published")


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """A registered model, what it inherits, and what must be mended before others get to see it."""

    model: RegisteredModel
    licenses: tuple[str, ...]
    acceptances: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A registration that is allowed, and why."""

    model: RegisteredModel
    decision: Decision
    licenses: tuple[str, ...]

    def registration(self) -> Registration:
        """What its maker is told."""
        return Registration(
            model=self.model,
            licenses=self.licenses,
            acceptances=self.decision.acceptances,
            warnings=self.decision.warnings,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelView(ModelEntry):
    """A model that the platform knows. `registered` says how it was made; null for one of the catalogue."""

    registered: RegisteredModel | None = None


def document(row: RegisteredModelRow) -> RegisteredModel:
    """The row as the policy object that it is."""
    return RegisteredModel(
        id=row.id,
        base=row.base,
        kind=row.kind,
        public_name=row.public_name,
        teachers=tuple(row.teachers),
        merged_with=tuple(row.merged_with),
        published=row.published,
        owner=row.owner,
        precision=row.precision,
        weights=None if row.weights is None else msgspec.convert(row.weights, WeightSet),
    )


def view(entry: ModelEntry, registered: RegisteredModel | None = None) -> ModelView:
    """A model as it is shown."""
    fields = {name: getattr(entry, name) for name in ModelEntry.__dataclass_fields__}
    return ModelView(**fields, registered=registered)


def entry_of(state: State, model: str, facts: Facts) -> ModelEntry | None:
    """The model with this id, of the catalogue or registered.

    Raises:
        RegistrationError: its lineage can no longer be followed (a newer catalogue may lack its root).
    """
    if model not in state.catalog.models and model not in facts.models:
        return None
    try:
        return trace(model=model, registered=facts.models, catalog=state.catalog).model
    except LineageError as error:
        raise problem(RegistrationError("LineageBroken", str(error))) from error


async def licenses_of(state: State, model: str | None) -> tuple[str, ...]:
    """Every license that a model has or inherits, those that follow its teachers' outputs last; none for no model."""
    models = (await state.view.get()).models
    try:
        lineage = trace(model=model or "", registered=models, catalog=state.catalog)
    except LineageError:
        return ()
    return tuple(dict.fromkeys((*lineage.licenses, *lineage.output_licenses)))


async def judged(state: State, *, model: RegisteredModel, actor: str) -> Judged:
    """A registration with the decision that allows it; a denial is written down.

    Raises:
        RegistrationConflict, RegistrationUnusable: it makes no sense, with the code that says why.
        RegistrationDenied: the licenses of what it was made from do not allow it.
    """
    facts = (await state.view.get()).facts()
    try:
        gone = await deleted.known(state.database)
        decision = judge(model=model, facts=facts, catalog=state.catalog, at=time.time(), deleted=gone)
    except RegistrationError as error:
        raise problem(error) from error
    if decision.allowed:
        lineage = trace(model=model.id, registered={**facts.models, model.id: model}, catalog=state.catalog)
        licenses = tuple(dict.fromkeys((*lineage.licenses, *lineage.output_licenses)))
        return Judged(model=model, decision=decision, licenses=licenses)
    now, owner = time.time(), facts.tenants.get(model.owner or "")
    denial = Denial(
        source=actor,
        entity=facts.operator if owner is None else owner.entity,
        role="deployer" if owner is not None else "operator",
        verb=model.kind,
        model=model.id,
        reason=decision.reason.value,
        first_at=now,
        last_at=now,
    )
    await state.database.run(EVERYTHING, lambda session: denials.add(session, [denial], now=now))
    raise RegistrationDenied(decision.message, decision=decision, reason=decision.reason.value)


async def register(session: AsyncSession, *, judged: Judged, managed_by: str, actor: str) -> Registration:
    """Register a model that may be.

    Raises:
        ModelExists: the id is taken.
        TooManyModels: the owner has as many as one may have.
    """
    model = judged.model
    count = select(func.count()).select_from(RegisteredModelRow)
    owned = await session.scalar(count.where(RegisteredModelRow.owner.is_not_distinct_from(model.owner)))
    if int(owned or 0) >= _MOST:
        raise TooManyModels(f"this owner has {_MOST} registered models already: delete one that is no longer used")
    added = await session.execute(
        insert(RegisteredModelRow)
        .values(managed_by=managed_by, **_values(model))
        .on_conflict_do_nothing()
        .returning(RegisteredModelRow.id)
    )
    if added.scalar_one_or_none() is None:
        raise ModelExists(f"the id {model.id} is taken: choose another one")
    await record(session, _event("model.register", judged, actor))
    return judged.registration()


async def put(session: AsyncSession, *, judged: Judged, actor: str) -> Registration:
    """Make the registration of a LlamaModel object what it says; nothing happens if it is that already.

    Raises:
        ModelManaged: the id was registered over HTTP.
        ModelImmutable: more than its public name and publication would change.
        TooManyModels: the owner has as many as one may have.
    """
    model = judged.model
    row = await session.get(RegisteredModelRow, model.id, with_for_update=True)
    if row is None:
        return await register(session, judged=judged, managed_by=CLUSTER, actor=actor)
    if row.managed_by != CLUSTER:
        raise ModelManaged(f"{model.id} was registered with `paddock model register`: delete it there, or rename yours")
    known = document(row)
    if replace(known, **{name: getattr(model, name) for name in _CHANGEABLE}) != model:
        raise ModelImmutable(f"only public name and publication of {model.id} may change: register it under another id")
    if known != model:
        row.public_name, row.published = model.public_name, model.published
        await session.flush()
        await record(session, _event("model.change", judged, actor))
    return judged.registration()


async def remove(
    session: AsyncSession, *, facts: Facts, catalog: Catalog, model_id: str, managed_by: str, actor: str
) -> None:
    """Take a registration away. What runs under it drains and goes; its bytes stay known under their licenses.

    Raises:
        ModelNotRegistered: the caller sees no such model of its own.
        ModelManaged: it belongs to a LlamaModel object.
        ModelInUse: other models were made from it.
    """
    row = await session.get(RegisteredModelRow, model_id, with_for_update=True)
    if row is None:
        raise ModelNotRegistered(f"no registered model {model_id}: see `paddock model list`")
    if row.managed_by != managed_by:
        raise ModelManaged(f"{model_id} belongs to a LlamaModel object: `kubectl delete llamamodel {model_id}`")
    made = sum(1 for other in facts.models.values() if model_id in (other.base, *other.merged_with, *other.teachers))
    if made:
        raise ModelInUse(f"{made} registered models were made from {model_id}: delete those first")
    model = document(row)
    await deleted.keep(session, model=model, facts=facts, catalog=catalog)
    await session.delete(row)
    await session.flush()
    change = PolicyChange(kind="model", id=model_id, body=None)
    await record(
        session, Event(actor=actor, action="model.delete", subject=model_id, tenant=model.owner, changes=[change])
    )


async def visible(session: AsyncSession) -> list[RegisteredModel]:
    """The registered models that the caller may see, by id."""
    rows = await session.scalars(select(RegisteredModelRow).order_by(RegisteredModelRow.id))
    return [document(row) for row in rows]


async def find(session: AsyncSession, model_id: str) -> RegisteredModel | None:
    """One that the caller may see."""
    row = await session.get(RegisteredModelRow, model_id)
    return None if row is None else document(row)


def _values(model: RegisteredModel) -> dict[str, object]:
    values = {name: getattr(model, name) for name in RegisteredModel.__dataclass_fields__}
    return {
        **values,
        "teachers": list(model.teachers),
        "merged_with": list(model.merged_with),
        "weights": msgspec.to_builtins(model.weights),
    }


def _event(action: str, judged: Judged, actor: str) -> Event:
    model, decision = judged.model, judged.decision
    detail = {
        "base": model.base,
        "kind": model.kind,
        "public_name": model.public_name,
        "teachers": list(model.teachers),
        "merged_with": list(model.merged_with),
        "published": model.published,
        "clauses": list(decision.clauses),
        "acceptances": list(decision.acceptances),
    }
    return Event(
        actor=actor,
        action=action,
        subject=model.id,
        tenant=model.owner,
        detail=detail,
        changes=[PolicyChange(kind="model", id=model.id, body=model)],
    )
