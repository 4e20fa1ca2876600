"""Models and licenses over HTTP: what the catalogue says, and which texts are imported."""

import logging
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Response
from paddock_core.catalog.types import LicenseEntry, ModelEntry, Restriction
from paddock_core.licensing.lineage import resolve
from paddock_core.licensing.notices import asks_to_show, notice_licenses
from paddock_core.policy.documents import RegisteredModel

from paddock_controlplane.call import Call, callers
from paddock_controlplane.fields import CatalogId
from paddock_controlplane.licensing.errors import ModelUnknown
from paddock_controlplane.licensing.questions import Duty, duties
from paddock_controlplane.licensing.texts import import_state, license_entry
from paddock_controlplane.models import service as registered_models
from paddock_controlplane.models.service import ModelView
from paddock_controlplane.paging import Page

log = logging.getLogger(__name__)

router = APIRouter(prefix="/v1", tags=["catalogue"])

Anybody = Annotated[Call, Depends(callers("platform", "tenant", "internal", "signatory", "decision"))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What one license asks to be shown with the model."""

    license: str
    title: str
    notice: str | None
    """Text of the notice file."""
    attribution: tuple[str, ...]
    """Texts to display prominently."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelNotice:
    """What every license of a model asks to be shown with it."""

    model: str
    title: str
    notices: list[Notice]


@dataclass(frozen=True, slots=True, kw_only=True)
class LicenseView:
    """A license of the catalogue, its duties in plain words, and whether each of its texts is imported."""

    license: LicenseEntry
    duties: list[Duty]
    imported: dict[str, bool]
    """By role of the text."""
    restrictions: list[Restriction]
    """Uses that its terms forbid, in our own words."""


@router.get("/models", operation_id="listModels", response_model=Page[ModelView])
async def list_models(call: Anybody) -> Response:
    """Every model of the catalogue, and every registered one that the caller may see."""
    models = [registered_models.view(entry) for entry in call.state.catalog.models.values()]
    facts = (await call.state.view.get()).facts()
    for made in await call.run(registered_models.visible):
        entry = resolve(model=made.id, registered=facts.models, catalog=call.state.catalog)
        if entry is None:
            log.warning("a registered model's lineage cannot be followed", extra={"model": made.id})
        else:
            models.append(registered_models.view(entry, made))
    return call.answer(Page(items=sorted(models, key=lambda item: item.id), next=None))


@router.get("/models/{model}", operation_id="readModel", response_model=ModelView)
async def read_model(call: Anybody, model: CatalogId) -> Response:
    """One model."""
    return call.answer(registered_models.view(*await _model(call, model)))


@router.get("/models/{model}/notice", operation_id="readNotice", response_model=ModelNotice)
async def read_notice(call: Anybody, model: CatalogId) -> Response:
    """The notices and attributions that go with a model: also those of its teachers' licenses that follow outputs."""
    entry, _ = await _model(call, model)
    catalog, registered = call.state.catalog, (await call.state.view.get()).models
    notices = [
        notice_of(license_entry(catalog, name), source="materials" if name in entry.licenses else "outputs")
        for name in notice_licenses(model=entry.id, registered=registered, catalog=catalog)
    ]
    return call.answer(ModelNotice(model=entry.id, title=entry.title, notices=notices))


@router.get("/licenses", operation_id="listLicenses", response_model=Page[LicenseView])
async def list_licenses(call: Anybody) -> Response:
    """Every license of the catalogue."""
    state = await call.run(import_state)
    licenses = call.state.catalog.licenses
    return call.answer(Page(items=[_view(call, licenses[name], state) for name in sorted(licenses)], next=None))


@router.get("/licenses/{license}", operation_id="readLicense", response_model=LicenseView)
async def read_license(call: Anybody, license_id: Annotated[CatalogId, Path(alias="license")]) -> Response:
    """One license."""
    entry = license_entry(call.state.catalog, license_id)
    return call.answer(_view(call, entry, await call.run(import_state)))


async def _model(call: Call, model: str) -> tuple[ModelEntry, RegisteredModel | None]:
    """A model, and how it was made if it is a registered one; one that the caller may not see is not there."""
    entry = call.state.catalog.model(model)
    if entry is not None:
        return entry, None
    made = await call.run(lambda session: registered_models.find(session, model))
    facts = (await call.state.view.get()).facts()
    entry = None if made is None else registered_models.entry_of(call.state, model, facts)
    if entry is None:
        raise ModelUnknown(f"no model {model} in the catalogue or registered: see `paddock model list`")
    return entry, made


def _view(call: Call, entry: LicenseEntry, state: dict[str, set[str]]) -> LicenseView:
    there = state.get(entry.id, set())
    return LicenseView(
        license=entry,
        duties=duties(entry),
        imported={pin.role: pin.role in there for pin in entry.texts},
        restrictions=list(call.state.catalog.restrictions_of(entry.id)),
    )


def notice_of(entry: LicenseEntry, *, source: str = "materials") -> Notice:
    """What a license asks to be shown with what is made of its materials, or of their `outputs`."""
    asked = [clause for clause in entry.clauses if asks_to_show(clause, source)]
    shown = tuple(str(clause.params["text"]) for clause in asked if clause.type == "display")
    noticed = source == "materials" or any(clause.type == "notice_file" for clause in asked)
    notice = entry.notice if noticed else None
    return Notice(license=entry.id, title=entry.title, notice=notice, attribution=shown)
