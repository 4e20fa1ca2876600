"""Statements over HTTP."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Response
from paddock_core.usage.row import LedgerRow
from paddock_core.usage.statements import Signed
from pydantic import StringConstraints

from paddock_controlplane.billing import service
from paddock_controlplane.call import Call, callers
from paddock_controlplane.fields import Body, Id
from paddock_controlplane.paging import After, Limit, Page, page

router = APIRouter(prefix="/v1/statements", tags=["statements"])

PlatformOrTenant = Annotated[Call, Depends(callers("platform", "tenant"))]
StatementId = Annotated[str, Path(pattern=r"^stm-[a-z0-9]{1,40}$")]


class StatementBody(Body):
    """A statement to issue."""

    tenant: Id
    month: Annotated[str, StringConstraints(pattern=r"^[0-9]{4}-[0-9]{2}$")]
    """As 2026-11; of UTC."""


@router.post("", status_code=201, operation_id="issueUsageStatement", response_model=Signed)
async def issue(call: Annotated[Call, Depends(callers("platform"))], body: StatementBody) -> Response:
    """Add up a tenant's month from the rows of the ledger and sign it. Asked again, the same statement comes."""
    key, actor = call.state.audit_key, call.principal.name
    return await call.once(
        lambda session: service.issue(session, tenant=body.tenant, month=body.month, key=key, actor=actor)
    )


@router.get("", operation_id="listUsageStatements", response_model=Page[Signed])
async def list_statements(
    call: PlatformOrTenant, tenant: Annotated[Id | None, Query()] = None, after: After = "", limit: Limit = 100
) -> Response:
    """Every statement that the caller may see."""
    if tenant is not None:
        call.own_tenant(tenant)
    found = await call.run(lambda session: service.list_statements(session, tenant=tenant, after=after, limit=limit))
    return call.answer(page(found, limit=limit))


@router.get("/{statement}", operation_id="readUsageStatement", response_model=Signed)
async def read(call: PlatformOrTenant, statement: StatementId) -> Response:
    """One statement."""
    return call.answer(await call.run(lambda session: service.find(session, statement)))


@router.get("/{statement}/rows", operation_id="readUsageStatementRows", response_model=Page[LedgerRow])
async def read_rows(
    call: PlatformOrTenant,
    statement: StatementId,
    after: Annotated[UUID | None, Query()] = None,
    limit: Annotated[int, Query(ge=1, le=5000)] = 1000,
) -> Response:
    """The rows that it adds up, in the order of their ids: whoever adds them again comes to the same text."""
    begin = str(after) if after else ""
    found = await call.run(lambda session: service.rows_of(session, statement, after=begin, limit=limit))
    return call.answer(page(found, limit=limit, key="usage_id"))
