"""The usage ledger over HTTP."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import msgspec
from fastapi import APIRouter, Depends, Query, Request, Response
from paddock_core.usage.record import UsageRecord

from paddock_controlplane.call import Call, callers
from paddock_controlplane.fields import Id
from paddock_controlplane.paging import Limit, Page, page
from paddock_controlplane.usage import ledger, reports
from paddock_controlplane.usage.errors import RecordInvalid

router = APIRouter(prefix="/v1/usage", tags=["usage"])
internal = APIRouter(prefix="/internal/v1/usage", tags=["internal"])

PlatformOrTenant = Annotated[Call, Depends(callers("platform", "tenant"))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Records to enter in the ledger."""

    records: list[UsageRecord]


_BATCH = msgspec.json.Decoder(Batch)


@router.get("", operation_id="readUsage", response_model=reports.UsageReport)
async def read_usage(
    call: PlatformOrTenant,
    tenant: Annotated[Id | None, Query()] = None,
    group_by: reports.Group = "tenant",
    start: Annotated[float | None, Query(ge=0, lt=1e11, alias="from")] = None,
    end: Annotated[float | None, Query(ge=0, lt=1e11, alias="to")] = None,
) -> Response:
    """Requests and tokens by group over a period (Unix seconds)."""
    if tenant is not None:
        call.own_tenant(tenant)
    period = reports.Period(start=start, end=end)
    return call.answer(
        await call.run(lambda session: reports.report(session, tenant=tenant, group_by=group_by, period=period))
    )


@router.get("/records", operation_id="readUsageRecords", response_model=Page[UsageRecord])
async def read_records(
    call: PlatformOrTenant,
    tenant: Annotated[Id | None, Query()] = None,
    after: Annotated[UUID | None, Query()] = None,
    limit: Limit = 100,
) -> Response:
    """Rows of the ledger in the order of their admission."""
    if tenant is not None:
        call.own_tenant(tenant)
    begin = str(after) if after else ""
    found = await call.run(lambda session: reports.records(session, tenant=tenant, after=begin, limit=limit))
    return call.answer(page(found, limit=limit, key="usage_id"))


@internal.post(
    "",
    operation_id="enterUsage",
    response_model=ledger.Ingested,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/UsageBatch"}}},
        }
    },
)
async def enter_usage(call: Annotated[Call, Depends(callers("internal"))], request: Request) -> Response:
    """Enter records in the ledger, each usage id exactly once however often it is sent."""
    try:
        records = _BATCH.decode(await request.body()).records
    except msgspec.DecodeError as error:
        raise RecordInvalid(f"the batch is not as expected: {error}") from error
    if len(records) > ledger.MOST_RECORDS:
        raise RecordInvalid(f"a batch holds at most {ledger.MOST_RECORDS} records: send them in parts")
    days = ledger.days_of(records, today=datetime.now(UTC).date())
    await call.state.partitions.ensure(call.state.database, days)
    return call.answer(await call.run(lambda session: ledger.enter(session, records)))
