"""Pages without a secret: what this is, models with their attributions and notices, licenses with their duties."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from paddock_core.catalog.types import LicenseEntry, ModelEntry
from starlette.responses import RedirectResponse

from paddock_controlplane.call import State
from paddock_controlplane.catalog.routes import notice_of
from paddock_controlplane.console.pages import ICON, STYLE, page
from paddock_controlplane.db import EVERYTHING
from paddock_controlplane.fields import CatalogId
from paddock_controlplane.licensing.questions import duties
from paddock_controlplane.licensing.texts import import_state, license_entry
from paddock_controlplane.problems import NotFound, Problem

_ASSET = {"cache-control": "public, max-age=300", "x-content-type-options": "nosniff"}


class PageRoute(APIRoute):
    """A route whose errors are pages too."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def told(request: Request) -> Response:
            try:
                return await handler(request)
            except Problem as problem:
                return problem_page(problem)
            except RequestValidationError:
                return problem_page(NotFound("check the address for a missing or changed character"))

        return told


router = APIRouter(prefix="/console", include_in_schema=False, route_class=PageRoute)


def problem_page(problem: Problem, **context: object) -> Response:
    """An error as a page that says what to do next."""
    headers = {name: value for name, value in problem.headers.items() if name != "www-authenticate"}
    shown = {"typed": {}, "go_on": None, **context}
    return page("problem.html", status=problem.status, headers=headers, problem=problem, **shown)


@router.get("/")
async def home(request: Request) -> Response:
    """What this is."""
    catalog = _state(request).catalog
    return page("home.html", licenses=_licenses(catalog.licenses.values()), models=len(catalog.models))


@router.get("/models")
async def models(request: Request) -> Response:
    """Every model with its licenses, what they ask to be displayed, and their notices."""
    catalog = _state(request).catalog
    shown: list[tuple[ModelEntry, list[Any]]] = [
        (model, [notice_of(license_entry(catalog, name)) for name in model.licenses])
        for model in sorted(catalog.models.values(), key=lambda entry: entry.title)
    ]
    groups: dict[tuple[str, ...], tuple[list[Any], list[ModelEntry]]] = {}
    for model, notices in shown:
        groups.setdefault(model.licenses, (notices, []))[1].append(model)
    return page("models.html", groups=[groups[key] for key in sorted(groups)])


@router.get("/licenses/{license}")
async def show_license(request: Request, license_id: Annotated[CatalogId, Path(alias="license")]) -> Response:
    """One license: duties, forbidden uses, digests, and which models have it."""
    state = _state(request)
    entry = license_entry(state.catalog, license_id)
    there = (await state.database.run(EVERYTHING, import_state)).get(entry.id, set())
    return page(
        "license.html",
        entry=entry,
        notice=notice_of(entry),
        duties=duties(entry),
        restrictions=state.catalog.restrictions_of(entry.id),
        imported=there,
        models=sorted(model.title for model in state.catalog.models.values() if entry.id in model.licenses),
    )


@router.get("/style.css")
async def style() -> Response:
    """The one style sheet."""
    return Response(STYLE, media_type="text/css", headers=_ASSET)


@router.get("/icon.svg")
async def icon() -> Response:
    """The icon of a tab."""
    return Response(ICON, media_type="image/svg+xml", headers=_ASSET)


async def top() -> Response:
    """The console's address without its last slash."""
    return RedirectResponse("/console/", status_code=308)


async def nowhere() -> Response:
    """No such page."""
    raise NotFound("the console has no such page: begin at its first page")


def _licenses(entries: Any) -> list[LicenseEntry]:
    return sorted(entries, key=lambda entry: (entry.dated, entry.id))


def _state(request: Request) -> State:
    state: State = request.app.state.parts
    return state
