"""Tenants over HTTP."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Response
from paddock_core.policy.documents import Limits, Namespace, Tenant
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncSession

from paddock_controlplane.call import Call, callers
from paddock_controlplane.fields import Body, Gpus, Id, LimitsBody, NamespaceName
from paddock_controlplane.paging import After, Limit, Page, page
from paddock_controlplane.tenants import service

router = APIRouter(prefix="/v1/tenants", tags=["tenants"])

Platform = Annotated[Call, Depends(callers("platform"))]
PlatformOrTenant = Annotated[Call, Depends(callers("platform", "tenant"))]


class TenantBody(Body):
    """A tenant to create."""

    id: Id
    entity: Id
    priced: bool = False
    """True if the tenant pays for what it uses."""
    limits: LimitsBody = LimitsBody()
    gpus: Gpus | None = None
    """GPUs that its deployments may be charged together; null or absent: as many as the platform gives everybody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantView:
    """A tenant with its namespaces."""

    tenant: Tenant
    namespaces: list[Namespace]


@router.post("", status_code=201, operation_id="createTenant", response_model=service.NewTenant)
async def create(call: Platform, body: TenantBody) -> Response:
    """Create a tenant. The admin token is shown in this answer and never again."""
    limits = Limits(**body.limits.model_dump())
    tenant = Tenant(id=body.id, entity=body.entity, priced=body.priced, limits=limits, gpus=body.gpus)
    return await call.once(lambda session: service.create(session, tenant=tenant, actor=call.principal.name))


@router.get("", operation_id="listTenants", response_model=Page[Tenant])
async def list_tenants(call: PlatformOrTenant, after: After = "", limit: Limit = 100) -> Response:
    """Every tenant that the caller may see."""
    return call.answer(
        page(await call.run(lambda session: service.list_page(session, after=after, limit=limit)), limit=limit)
    )


@router.get("/{tenant}", operation_id="readTenant", response_model=TenantView)
async def read(call: PlatformOrTenant, tenant: Id) -> Response:
    """One tenant and its namespaces."""
    call.own_tenant(tenant)

    async def work(session: AsyncSession) -> TenantView:
        found = await service.find(session, tenant)
        return TenantView(tenant=found, namespaces=await service.namespaces(session, tenant))

    return call.answer(await call.run(work))


@router.put("/{tenant}/limits", operation_id="setTenantLimits", response_model=Tenant)
async def set_limits(call: Platform, tenant: Id, body: LimitsBody) -> Response:
    """Replace a tenant's limits."""
    limits = Limits(**body.model_dump())
    actor = call.principal.name
    return call.answer(
        await call.run(lambda session: service.set_limits(session, tenant_id=tenant, limits=limits, actor=actor))
    )


class GpusBody(Body):
    """A tenant's GPU quota."""

    gpus: Gpus | None
    """Null: as many as the platform gives everybody."""


@router.put("/{tenant}/gpu-quota", operation_id="setTenantGpus", response_model=Tenant)
async def set_gpus(call: Platform, tenant: Id, body: GpusBody) -> Response:
    """Set how many GPUs a tenant's deployments may be charged together. What runs beyond it goes on."""
    actor = call.principal.name
    return call.answer(
        await call.run(lambda session: service.set_gpus(session, tenant_id=tenant, gpus=body.gpus, actor=actor))
    )


class GroupsBody(Body):
    """Names of groups of end users; a request names its own in `metadata.end_user_group`."""

    groups: Annotated[tuple[Id, ...], Field(max_length=50)]
    """Whatever else a request names counts as `other`. Empty: no groups are told apart."""


@router.put("/{tenant}/end-user-groups", operation_id="setEndUserGroups", response_model=Tenant)
async def set_end_user_groups(call: PlatformOrTenant, tenant: Id, body: GroupsBody) -> Response:
    """Replace the groups of end users that the tenant's reports tell apart."""
    call.own_tenant(tenant)
    groups, actor = body.groups, call.principal.name
    return call.answer(
        await call.run(
            lambda session: service.set_end_user_groups(session, tenant_id=tenant, groups=groups, actor=actor)
        )
    )


@router.put("/{tenant}/namespaces/{namespace}", operation_id="addNamespace", response_model=Namespace)
async def add_namespace(call: Platform, tenant: Id, namespace: NamespaceName) -> Response:
    """Give a Kubernetes namespace to a tenant."""
    actor = call.principal.name
    return call.answer(
        await call.run(lambda session: service.add_namespace(session, tenant_id=tenant, name=namespace, actor=actor))
    )


@router.delete("/{tenant}/namespaces/{namespace}", status_code=204, operation_id="removeNamespace")
async def remove_namespace(call: Platform, tenant: Id, namespace: NamespaceName) -> Response:
    """Take a Kubernetes namespace away from a tenant."""
    actor = call.principal.name
    await call.run(lambda session: service.remove_namespace(session, tenant_id=tenant, name=namespace, actor=actor))
    return Response(status_code=204)
