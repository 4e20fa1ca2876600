"""Quotas over HTTP: projects, limits of the platform and of end users, where limits stand; leases for gateways."""

from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Query, Request, Response
from paddock_core.policy.documents import Limits, PlatformLimits, Project, Tenant
from paddock_core.quotas.wire import LeaseCall

from paddock_controlplane.call import Call, callers
from paddock_controlplane.fields import Id, LimitsBody
from paddock_controlplane.paging import After, Limit, Page, page
from paddock_controlplane.quotas import service
from paddock_controlplane.quotas.errors import LeaseCallInvalid
from paddock_controlplane.tenants import service as tenants

router = APIRouter(prefix="/v1", tags=["quotas"])
internal = APIRouter(prefix="/internal/v1/leases", tags=["internal"])

Platform = Annotated[Call, Depends(callers("platform"))]
PlatformOrTenant = Annotated[Call, Depends(callers("platform", "tenant"))]

_CALL = msgspec.json.Decoder(LeaseCall)


@router.put("/tenants/{tenant}/projects/{project}", operation_id="setProject", response_model=Project)
async def set_project(call: PlatformOrTenant, tenant: Id, project: Id, body: LimitsBody) -> Response:
    """Create a project of a tenant, or replace its limits."""
    call.own_tenant(tenant)
    limits, actor = Limits(**body.model_dump()), call.principal.name
    return call.answer(
        await call.run(
            lambda session: service.put_project(session, tenant=tenant, name=project, limits=limits, actor=actor)
        )
    )


@router.get("/tenants/{tenant}/projects", operation_id="listProjects", response_model=Page[Project])
async def list_projects(call: PlatformOrTenant, tenant: Id, after: After = "", limit: Limit = 100) -> Response:
    """The tenant's projects."""
    call.own_tenant(tenant)
    found = await call.run(lambda session: service.list_projects(session, tenant=tenant, after=after, limit=limit))
    return call.answer(page(found, limit=limit))


@router.delete("/tenants/{tenant}/projects/{project}", status_code=204, operation_id="removeProject")
async def remove_project(call: PlatformOrTenant, tenant: Id, project: Id) -> Response:
    """Remove a project that no key was issued for."""
    call.own_tenant(tenant)
    actor = call.principal.name
    await call.run(lambda session: service.remove_project(session, tenant=tenant, name=project, actor=actor))
    return Response(status_code=204)


@router.put("/tenants/{tenant}/end-user-limits", operation_id="setEndUserLimits", response_model=Tenant)
async def set_end_user_limits(call: PlatformOrTenant, tenant: Id, body: LimitsBody) -> Response:
    """Replace what each end user may use whom the tenant's requests name."""
    call.own_tenant(tenant)
    limits, actor = Limits(**body.model_dump()), call.principal.name
    return call.answer(
        await call.run(
            lambda session: tenants.set_end_user_limits(session, tenant_id=tenant, limits=limits, actor=actor)
        )
    )


@router.put("/platform/limits", operation_id="setPlatformLimits", response_model=PlatformLimits)
async def set_platform_limits(call: Platform, body: LimitsBody) -> Response:
    """Replace what all tenants together may use."""
    limits, actor = Limits(**body.model_dump()), call.principal.name
    return call.answer(await call.run(lambda session: service.set_platform(session, limits=limits, actor=actor)))


@router.get("/platform/limits", operation_id="readPlatformLimits", response_model=PlatformLimits)
async def read_platform_limits(call: Platform) -> Response:
    """What all tenants together may use."""
    return call.answer(await call.run(service.platform))


@router.get("/quotas", operation_id="readQuotas", response_model=Page[service.Standing])
async def read_quotas(
    call: PlatformOrTenant,
    tenant: Annotated[Id | None, Query()] = None,
    after: After = "",
    limit: Limit = 100,
) -> Response:
    """Where limits stand, as far as a request was counted against them."""
    if tenant is not None:
        call.own_tenant(tenant)
    beside = await call.state.leases.accounts()
    found = await call.run(
        lambda session: service.standings(session, tenant=tenant, after=after, limit=limit, beside=beside)
    )
    return call.answer(page(found, limit=limit))


@internal.post(
    "",
    operation_id="leaseQuotas",
    openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}},
)
async def lease(call: Annotated[Call, Depends(callers("internal"))], request: Request) -> Response:
    """Borrow, keep and give back units of limits (paddock_core.quotas.wire)."""
    try:
        wanted = _CALL.decode(await request.body())
    except msgspec.DecodeError as error:
        raise LeaseCallInvalid(f"the call is not as expected: {error}") from error
    seconds = call.state.settings.quota_lease_seconds
    content = await call.state.leases.answer(wanted, seconds=seconds)
    return Response(content, media_type="application/json")
