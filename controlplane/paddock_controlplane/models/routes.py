"""Registered models over HTTP: for people, and for the operator's LlamaModel objects."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Response
from sqlalchemy.ext.asyncio import AsyncSession

from paddock_controlplane.call import Call, NotYours, callers
from paddock_controlplane.models import service
from paddock_controlplane.models.bodies import ModelId, NewModelBody, RegistrationBody
from paddock_controlplane.models.errors import ModelManaged, ModelNotRegistered
from paddock_controlplane.models.service import API, CLUSTER, Registration

router = APIRouter(prefix="/v1/models", tags=["models"])
internal = APIRouter(prefix="/internal/v1/models", tags=["internal"])

PlatformOrTenant = Annotated[Call, Depends(callers("platform", "tenant"))]
Internal = Annotated[Call, Depends(callers("internal"))]
InPath = Annotated[ModelId, Path(alias="model")]


@router.post("", status_code=201, operation_id="registerModel", response_model=Registration)
async def register(call: PlatformOrTenant, body: NewModelBody) -> Response:
    """Register a model that was made from another one. It inherits the licenses and duties of what it was made from.

    A tenant's admin registers for its own tenant.
    """
    own = call.principal.tenant or None
    if own is not None and body.owner not in (None, own):
        raise NotYours(f"this token registers models of tenant {own}, not of {body.owner}")
    model, actor = body.model(body.id, owner=own or body.owner), call.principal.name
    judged = await service.judged(call.state, model=model, actor=actor)
    return await call.once(lambda session: service.register(session, judged=judged, managed_by=API, actor=actor))


@router.delete("/{model}", status_code=204, operation_id="deleteModel")
async def delete(call: PlatformOrTenant, model_id: InPath) -> Response:
    """Delete a registered model. Deployments of it drain and go, and say why."""
    await call.run(await _removal(call, model_id, API))
    return Response(status_code=204)


@internal.put("/{model}", operation_id="putModel", response_model=Registration)
async def put(call: Internal, model_id: InPath, body: RegistrationBody) -> Response:
    """Register what a LlamaModel object says; idempotent. The decision is made again for every change."""
    model, actor = body.model(model_id, owner=body.owner), call.principal.name
    judged = await service.judged(call.state, model=model, actor=actor)
    return call.answer(await call.run(lambda session: service.put(session, judged=judged, actor=actor)))


@internal.delete("/{model}", status_code=204, operation_id="dropModel")
async def drop(call: Internal, model_id: InPath) -> Response:
    """Take away what a LlamaModel object registered; idempotent. What people registered over HTTP stays."""
    try:
        await call.run(await _removal(call, model_id, CLUSTER))
    except (ModelNotRegistered, ModelManaged):
        return Response(status_code=204)
    return Response(status_code=204)


async def _removal(call: Call, model_id: str, managed_by: str) -> Callable[[AsyncSession], Awaitable[None]]:
    facts, catalog, actor = (await call.state.view.get()).facts(), call.state.catalog, call.principal.name
    return lambda session: service.remove(
        session, facts=facts, catalog=catalog, model_id=model_id, managed_by=managed_by, actor=actor
    )
