"""Legal entities over HTTP."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Response
from paddock_core.policy.documents import Entity
from pydantic import Field

from paddock_controlplane.call import Call, callers
from paddock_controlplane.entities import service
from paddock_controlplane.fields import Body, Country, Id, Line
from paddock_controlplane.paging import After, Limit, Page, page

router = APIRouter(prefix="/v1/entities", tags=["entities"])


class EntityBody(Body):
    """A legal person to register."""

    id: Id
    legal_name: Line
    principal_place_of_business: Country
    """ISO 3166-1 alpha-2 country code."""
    affiliates: Annotated[tuple[Line, ...], Field(max_length=1000)] = ()
    receives_integrated_product: bool = False
    """Attested: the entity receives the models only inside an integrated end-user product."""
    is_operator: bool = False
    """True for the one entity that runs this platform."""
    domicile: Country | Literal[""] = ""
    """ISO 3166-1 alpha-2 country code, where it is another than the principal place of business."""


@router.post("", status_code=201, operation_id="registerEntity", response_model=Entity)
async def register(call: Annotated[Call, Depends(callers("platform"))], body: EntityBody) -> Response:
    """Register a legal entity."""
    entity = Entity(**{**body.model_dump(), "affiliates": tuple(sorted(set(body.affiliates)))})
    return await call.once(lambda session: service.register(session, entity=entity, actor=call.principal.name))


@router.get("", operation_id="listEntities", response_model=Page[Entity])
async def list_entities(
    call: Annotated[Call, Depends(callers("platform", "tenant"))], after: After = "", limit: Limit = 100
) -> Response:
    """Every entity that the caller may see."""
    return call.answer(
        page(await call.run(lambda session: service.list_page(session, after=after, limit=limit)), limit=limit)
    )


@router.get("/{entity}", operation_id="readEntity", response_model=Entity)
async def read(call: Annotated[Call, Depends(callers("platform", "tenant"))], entity: Id) -> Response:
    """One entity."""
    call.own_entity(entity)
    return call.answer(await call.run(lambda session: service.find(session, entity)))
