"""May this model be registered, and who may deploy it? Pure; asked by the control plane, the webhook and the operator.

`judge` first looks at what no license is needed for (ids, owner, lineage), then asks `decide` for the owner's entity.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from paddock_core.catalog.loader import Catalog
from paddock_core.catalog.types import ModelEntry, WeightSet
from paddock_core.licensing.decide import decide
from paddock_core.licensing.index import with_models
from paddock_core.licensing.kinds import MODEL_KINDS
from paddock_core.licensing.lineage import Lineage, LineageCycleError, LineageError, trace
from paddock_core.licensing.same_bytes import same_bytes
from paddock_core.licensing.types import Decision, Facts, Request, Role
from paddock_core.policy.documents import RegisteredModel, Tenant


class RegistrationReason(StrEnum):
    """Stable reasons why a registration makes no sense."""

    ID_TAKEN = "IdTaken"
    KIND_UNKNOWN = "KindUnknown"
    TEACHER_MISSING = "TeacherMissing"
    PARENT_MISSING = "ParentMissing"
    OWNER_UNKNOWN = "OwnerUnknown"
    BASE_UNKNOWN = "BaseUnknown"
    LINEAGE_CYCLE = "LineageCycle"
    WEIGHTS_OF_ANOTHER = "WeightsOfAnother"


class UnservedReason(StrEnum):
    """Stable reasons why a registered model cannot be served."""

    ADAPTER_NOT_SERVED = "AdapterNotServed"
    WEIGHTS_NOT_REGISTERED = "WeightsNotRegistered"


class RegistrationError(ValueError):
    """The registration makes no sense as it stands; `code` is stable. `mendable`: a later act may make sense of it."""

    def __init__(self, code: str, message: str, *, mendable: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.mendable = mendable


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletedModel:
    """What is kept of registrations under one id that were deleted: what bound their bytes."""

    id: str
    licenses: tuple[str, ...]
    output_licenses: tuple[str, ...]
    modality: tuple[str, ...]
    weights: tuple[WeightSet, ...]


def judge(
    *, model: RegisteredModel, facts: Facts, catalog: Catalog, at: float, deleted: Sequence[DeletedModel] = ()
) -> Decision:
    """Whether the owner's entity may have made the model as the registration says. `at` is Unix seconds.

    `deleted` models keep their bytes under the licenses that bound them; the control plane alone knows them.

    Raises:
        RegistrationError: with one of `RegistrationReason`.
    """
    kind = MODEL_KINDS.get(model.kind)
    if model.id in catalog.models:
        raise RegistrationError(
            RegistrationReason.ID_TAKEN, f"{model.id} is a model of the catalogue: choose another id"
        )
    if kind is None:
        raise RegistrationError(
            RegistrationReason.KIND_UNKNOWN, f"no kind {model.kind}: it is one of {', '.join(MODEL_KINDS)}"
        )
    if kind.taught and not model.teachers:
        raise RegistrationError(
            RegistrationReason.TEACHER_MISSING, f"a {model.kind} was trained on outputs: name its teachers"
        )
    if kind.merged and not model.merged_with:
        text = f"a {model.kind} has several parents: name the others beside its base in merged_with"
        raise RegistrationError(RegistrationReason.PARENT_MISSING, text)
    owner = _owner(model, facts)
    candidate = with_models(facts, model)
    lineage = _lineage(model, candidate, catalog, owner)
    _own_weights(model, lineage, facts, catalog)
    _not_deleted(model, lineage, deleted)
    return decide(
        request=Request(
            entity=facts.operator if owner is None else owner.entity,
            role=Role.OPERATOR if owner is None else Role.DEPLOYER,
            verb=kind.verb,
            model=model.id,
            at=at,
        ),
        facts=candidate,
        catalog=catalog,
    )


def may_deploy(*, model: str, tenant: Tenant, facts: Facts) -> bool:
    """True for a model of the catalogue or one that nobody knows, and for a registered one that the tenant may use: the
    platform's, its own, and those that others published. The platform's own tenants may use every one."""
    made = facts.models.get(model)
    if made is None or made.owner in (None, tenant.id) or made.published is True:
        return True
    return tenant.entity == facts.operator


def hidden(*, model: str) -> str:
    """What somebody reads who may not deploy a model: nothing that tells whether it exists."""
    return f"no model {model} in the catalogue or registered: see `paddock model list`"


def unserved(*, model: str, facts: Facts, entry: ModelEntry) -> tuple[UnservedReason, str] | None:
    """Why a known model cannot be served by this version, as a stable reason and a message; None if it can."""
    made = facts.models.get(model)
    if entry.weights or made is None:
        return None
    kind = MODEL_KINDS.get(made.kind)
    if kind is not None and not kind.whole:
        text = f"{model} is an {made.kind} of {made.base}, and no engine of this version loads one beside its base"
        return (
            UnservedReason.ADAPTER_NOT_SERVED,
            f"{text}: merge them and register the result as a merge of {made.base} with {model}",
        )
    text = f"{model} was registered without weights: delete it and register it with them"
    return UnservedReason.WEIGHTS_NOT_REGISTERED, text


def _owner(model: RegisteredModel, facts: Facts) -> Tenant | None:
    if model.owner is None:
        return None
    owner = facts.tenants.get(model.owner)
    if owner is None:
        text = f"no tenant {model.owner}: the platform team registers it with `paddock tenant create`"
        raise RegistrationError(RegistrationReason.OWNER_UNKNOWN, text, mendable=True)
    return owner


def _lineage(model: RegisteredModel, candidate: Facts, catalog: Catalog, owner: Tenant | None) -> Lineage:
    for name in (model.base, *model.merged_with, *model.teachers):
        if owner is not None and name != model.id and not may_deploy(model=name, tenant=owner, facts=candidate):
            raise RegistrationError(RegistrationReason.BASE_UNKNOWN, hidden(model=name), mendable=True)
    try:
        return trace(model=model.id, registered=candidate.models, catalog=catalog)
    except LineageCycleError as error:
        raise RegistrationError(RegistrationReason.LINEAGE_CYCLE, str(error)) from error
    except LineageError as error:
        raise RegistrationError(RegistrationReason.BASE_UNKNOWN, str(error), mendable=True) from error


def _own_weights(model: RegisteredModel, lineage: Lineage, facts: Facts, catalog: Catalog) -> None:
    """Bytes that are known here under a license are not had without it by registering them under another model."""
    if model.weights is None:
        return
    for other, known in _known_weights(model.id, facts, catalog):
        what = same_bytes(known=known, other=model.weights)
        if what is None:
            continue
        try:
            missing = _lost(lineage, trace(model=other, registered=facts.models, catalog=catalog))
        except LineageError:
            missing = ["as a model whose licenses can no longer be told"]
        if missing:
            text = f"{what} of its weights is known here {', '.join(missing)}, and its base is not"
            raise RegistrationError(
                RegistrationReason.WEIGHTS_OF_ANOTHER, f"{text}: name the model that it was made from"
            )


def _not_deleted(model: RegisteredModel, lineage: Lineage, deleted: Sequence[DeletedModel]) -> None:
    """What was deleted does not come back as something else: neither its bytes nor its id."""
    for gone in deleted:
        missing = _lost(lineage, gone)
        same = [
            what for known in gone.weights if model.weights and (what := same_bytes(known=known, other=model.weights))
        ]
        if missing and same:
            text = f"{same[0]} of its weights was registered here {', '.join(missing)}, and its base is not"
            raise RegistrationError(
                RegistrationReason.WEIGHTS_OF_ANOTHER, f"{text}: name the model that it was made from"
            )
        if missing and gone.id == model.id:
            text = f"a model that was deleted had the id {model.id} {', '.join(missing)}: choose another id"
            raise RegistrationError(RegistrationReason.ID_TAKEN, text)


def _lost(ours: Lineage, theirs: Lineage | DeletedModel) -> list[str]:
    """What would no longer bind the bytes. A teacher's license does not make bytes its own: it is there for outputs."""
    modality = theirs.modality if isinstance(theirs, DeletedModel) else theirs.model.modality
    materials = sorted(set(theirs.licenses) - set(ours.licenses))
    outputs = sorted(set(theirs.output_licenses) - {*ours.licenses, *ours.output_licenses})
    sees = sorted(set(modality) - set(ours.model.modality))
    return [
        *(f"under {name}" for name in materials),
        *(f"as taught by a model under {name}" for name in outputs if name not in materials),
        *(f"as a model of {name}s" for name in sees),
    ]


def _known_weights(model: str, facts: Facts, catalog: Catalog) -> Iterator[tuple[str, WeightSet]]:
    for entry in catalog.models.values():
        yield from ((entry.id, weights) for weights in entry.weights.values())
    for made in facts.models.values():
        if made.id != model and made.weights is not None:
            yield made.id, made.weights
