"""Admin tokens of tenants over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response
from pydantic import Field

from paddock_controlplane.call import Call, callers
from paddock_controlplane.fields import Body, Id, Line, Overlap
from paddock_controlplane.paging import After, Limit, Page, page
from paddock_controlplane.tenants import admins

router = APIRouter(prefix="/v1/tenants/{tenant}/admin-tokens", tags=["tenants"])

PlatformOrTenant = Annotated[Call, Depends(callers("platform", "tenant"))]
TokenId = Annotated[str, Field(pattern=r"^[a-z2-7]{12}$")]


class AdminTokenBody(Body):
    """An admin token to issue."""

    name: Line | None = None
    """Whose it is, or what for."""
    expires_at: Annotated[float, Field(gt=0, lt=1e11)] | None = None
    """Unix time in seconds; null for a token that does not expire."""


class AdminRotationBody(Body):
    """How an admin token gets a new secret."""

    overlap_seconds: Overlap = 0.0
    """How long the secret that it has still opens it."""


@router.post("", status_code=201, operation_id="issueAdminToken", response_model=admins.NewAdminToken)
async def issue(call: PlatformOrTenant, tenant: Id, body: AdminTokenBody) -> Response:
    """Issue another admin token. It is shown in this answer and never again.

    One that the platform issues may do everything but issue links of the entity's signatories.
    """
    call.own_tenant(tenant)
    name, expires_at, issuer = body.name or "", body.expires_at, call.principal.issuer()
    return await call.once(
        lambda session: admins.issue(session, tenant=tenant, name=name, expires_at=expires_at, issuer=issuer)
    )


@router.get("", operation_id="listAdminTokens", response_model=Page[admins.AdminTokenView])
async def list_tokens(call: PlatformOrTenant, tenant: Id, after: After = "", limit: Limit = 100) -> Response:
    """The tenant's admin tokens, ended ones too."""
    call.own_tenant(tenant)
    found = await call.run(lambda session: admins.list_page(session, tenant=tenant, after=after, limit=limit))
    return call.answer(page(found, limit=limit))


@router.post("/{token}/rotation", status_code=201, operation_id="rotateAdminToken", response_model=admins.NewAdminToken)
async def rotate(call: PlatformOrTenant, tenant: Id, token: TokenId, body: AdminRotationBody) -> Response:
    """Give a token a new secret, shown in this answer and never again. The old one works for the overlap."""
    call.own_tenant(tenant)
    overlap, issuer = body.overlap_seconds, call.principal.issuer()
    return await call.once(
        lambda session: admins.rotate(session, tenant=tenant, token_id=token, overlap_seconds=overlap, issuer=issuer)
    )


@router.delete("/{token}", status_code=204, operation_id="revokeAdminToken")
async def revoke(call: PlatformOrTenant, tenant: Id, token: TokenId) -> Response:
    """Revoke an admin token, at once. The platform can issue another, which issues no links of signatories."""
    call.own_tenant(tenant)
    actor = call.principal.name
    await call.run(lambda session: admins.revoke(session, tenant=tenant, token_id=token, actor=actor))
    return Response(status_code=204)
