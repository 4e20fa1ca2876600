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


class EntityFacts(Body):
    """What licenses ask of a legal person."""

    legal_name: Line
    principal_place_of_business: Country
    """ISO 3166-1 alpha-2 country code."""
    affiliates: Annotated[tuple[Line, ...], Field(max_length=1000)] = ()
    receives_integrated_product: bool = False
    """Attested: the entity receives the models only inside an integrated end-user product."""
    domicile: Country | Literal[""] = ""
    """ISO 3166-1 alpha-2 country code, where it is another than the principal place of business."""

    def entity(self, entity_id: str, *, is_operator: bool) -> Entity:
        """The entity that has this id."""
        facts = EntityFacts.model_dump(self, include=set(EntityFacts.model_fields))
        facts["affiliates"] = tuple(sorted(set(self.affiliates)))
        return Entity(id=entity_id, is_operator=is_operator, **facts)


class EntityBody(EntityFacts):
    """A legal person to register."""

    id: Id
    is_operator: bool = False
    """True for the one entity that runs this platform."""


@router.post("", status_code=201, operation_id="registerEntity", response_model=Entity)
async def register(call: Annotated[Call, Depends(callers("platform"))], body: EntityBody) -> Response:
    """Register a legal entity."""
    entity = body.entity(body.id, is_operator=body.is_operator)
    return await call.once(lambda session: service.register(session, entity=entity, actor=call.principal.name))


@router.put("/{entity}", operation_id="updateEntity", response_model=Entity)
async def update(call: Annotated[Call, Depends(callers("platform"))], entity: Id, body: EntityFacts) -> Response:
    """Replace what licenses ask of an entity: decisions are made anew by it, everywhere. The audit log keeps both."""
    changed = body.entity(entity, is_operator=False)
    return call.answer(
        await call.run(lambda session: service.update(session, entity=changed, actor=call.principal.name))
    )


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
