"""Models and licenses over HTTP: what the catalogue says, and which texts are imported."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Response
from paddock_core.catalog.types import LicenseEntry, ModelEntry, Restriction

from paddock_controlplane.call import Call, callers
from paddock_controlplane.fields import CatalogId
from paddock_controlplane.licensing.errors import ModelUnknown
from paddock_controlplane.licensing.questions import Duty, duties
from paddock_controlplane.licensing.texts import import_state, license_entry
from paddock_controlplane.paging import Page

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


@router.get("/models", operation_id="listModels", response_model=Page[ModelEntry])
async def list_models(call: Anybody) -> Response:
    """Every model of the catalogue."""
    models = call.state.catalog.models
    return call.answer(Page(items=[models[name] for name in sorted(models)], next=None))


@router.get("/models/{model}", operation_id="readModel", response_model=ModelEntry)
async def read_model(call: Anybody, model: CatalogId) -> Response:
    """One model."""
    return call.answer(_model(call, model))


@router.get("/models/{model}/notice", operation_id="readNotice", response_model=ModelNotice)
async def read_notice(call: Anybody, model: CatalogId) -> Response:
    """The notices and attributions that go with a model."""
    entry = _model(call, model)
    notices = [_notice(license_entry(call.state.catalog, name)) for name in entry.licenses]
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


def _model(call: Call, model: str) -> ModelEntry:
    entry = call.state.catalog.model(model)
    if entry is None:
        raise ModelUnknown(f"no model {model} in the catalogue: see `paddock model list`")
    return entry


def _view(call: Call, entry: LicenseEntry, state: dict[str, set[str]]) -> LicenseView:
    there = state.get(entry.id, set())
    return LicenseView(
        license=entry,
        duties=duties(entry),
        imported={pin.role: pin.role in there for pin in entry.texts},
        restrictions=list(call.state.catalog.restrictions_of(entry.id)),
    )


def _notice(entry: LicenseEntry) -> Notice:
    shown = tuple(str(clause.params["text"]) for clause in entry.clauses if clause.type == "display")
    return Notice(license=entry.id, title=entry.title, notice=entry.notice, attribution=shown)
