"""API keys over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response
from paddock_core.keys import SCOPES
from paddock_core.policy.documents import Limits
from pydantic import AfterValidator, Field

from paddock_controlplane.call import Call, callers
from paddock_controlplane.fields import Body, Id, LimitsBody, Line, Overlap
from paddock_controlplane.keys import service
from paddock_controlplane.paging import After, Limit, Page, page

router = APIRouter(prefix="/v1/tenants/{tenant}/keys", tags=["keys"])

PlatformOrTenant = Annotated[Call, Depends(callers("platform", "tenant"))]


def _scope(name: str) -> str:
    if name not in SCOPES:
        raise ValueError(f"no such scope: there are {', '.join(SCOPES)}")
    return name


Scope = Annotated[str, Field(json_schema_extra={"enum": list(SCOPES)}), AfterValidator(_scope)]
KeyId = Annotated[str, Field(pattern=r"^[a-z2-7]{12}$")]


class KeyBody(Body):
    """A key to issue."""

    name: Line | None = None
    expires_at: Annotated[float, Field(gt=0, lt=1e11)] | None = None
    """Unix time in seconds; null for a key that does not expire."""
    models: Annotated[tuple[Line, ...], Field(max_length=1000)] = ()
    """Served model names that the key may call; empty for every one that its tenant may call."""
    limits: LimitsBody = LimitsBody()
    project: Id | None = None
    """Name of the tenant's project that the key belongs to; null for none."""
    scopes: Annotated[tuple[Scope, ...], Field(max_length=100)] = ()
    """What the key may do; empty for everything."""


class RotationBody(Body):
    """How a key gets a new secret."""

    overlap_seconds: Overlap = 0.0
    """How long the secret that it has still opens it."""


@router.post("", status_code=201, operation_id="issueKey", response_model=service.NewKey)
async def issue(call: PlatformOrTenant, tenant: Id, body: KeyBody) -> Response:
    """Issue an API key. The key is shown in this answer and never again."""
    wish = service.KeyWish(
        tenant=call.own_tenant(tenant),
        name=body.name or "",
        expires_at=body.expires_at,
        models=body.models,
        limits=Limits(**body.limits.model_dump()),
        project=body.project or "",
        scopes=body.scopes,
    )
    return await call.once(lambda session: service.issue(session, wish=wish, actor=call.principal.name))


@router.get("", operation_id="listKeys", response_model=Page[service.KeyView])
async def list_keys(call: PlatformOrTenant, tenant: Id, after: After = "", limit: Limit = 100) -> Response:
    """The tenant's keys, revoked ones too."""
    call.own_tenant(tenant)
    found = await call.run(lambda session: service.list_page(session, tenant=tenant, after=after, limit=limit))
    return call.answer(page(found, limit=limit))


@router.post("/{key}/rotation", status_code=201, operation_id="rotateKey", response_model=service.RotatedKey)
async def rotate(call: PlatformOrTenant, tenant: Id, key: KeyId, body: RotationBody) -> Response:
    """Give a key a new secret, which is shown in this answer and never again. The old one works for the overlap."""
    call.own_tenant(tenant)
    overlap, actor = body.overlap_seconds, call.principal.name
    return await call.once(
        lambda session: service.rotate(session, tenant=tenant, key_id=key, overlap_seconds=overlap, actor=actor)
    )


@router.put("/{key}/limits", operation_id="setKeyLimits", response_model=service.KeyView)
async def set_limits(call: PlatformOrTenant, tenant: Id, key: KeyId, body: LimitsBody) -> Response:
    """Replace what a key may use, for every gateway that is connected within seconds."""
    call.own_tenant(tenant)
    limits, actor = Limits(**body.model_dump()), call.principal.name
    return call.answer(
        await call.run(
            lambda session: service.set_limits(session, tenant=tenant, key_id=key, limits=limits, actor=actor)
        )
    )


@router.delete("/{key}", status_code=204, operation_id="revokeKey")
async def revoke(call: PlatformOrTenant, tenant: Id, key: KeyId) -> Response:
    """Revoke a key, for every gateway that is connected within seconds."""
    call.own_tenant(tenant)
    actor = call.principal.name
    await call.run(lambda session: service.revoke(session, tenant=tenant, key_id=key, actor=actor))
    return Response(status_code=204)
