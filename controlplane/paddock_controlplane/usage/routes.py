"""The usage ledger over HTTP."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response
from paddock_core.usage.row import LedgerRow
from pydantic import Field, StringConstraints
from sqlalchemy.ext.asyncio import AsyncSession

from paddock_controlplane.call import Call, callers
from paddock_controlplane.fields import Body, Id, Line
from paddock_controlplane.paging import Limit, Page, page
from paddock_controlplane.usage import charges, corrections, events, ledger, reports, rollups, rows, wire
from paddock_controlplane.usage.wire import Tokens

router = APIRouter(prefix="/v1/usage", tags=["usage"])
internal = APIRouter(prefix="/internal/v1/usage", tags=["internal"])

Platform = Annotated[Call, Depends(callers("platform"))]
PlatformOrTenant = Annotated[Call, Depends(callers("platform", "tenant"))]


@router.get("", operation_id="readUsage", response_model=reports.UsageReport)
async def read_usage(
    call: PlatformOrTenant,
    tenant: Annotated[Id | None, Query()] = None,
    group_by: reports.Group = "tenant",
    interval: reports.Interval | None = None,
    start: Annotated[float | None, Query(ge=0, lt=1e11, alias="from")] = None,
    end: Annotated[float | None, Query(ge=0, lt=1e11, alias="to")] = None,
    skip: Annotated[int, Query(ge=0, le=10**8)] = 0,
) -> Response:
    """Requests, tokens and costs by group, and by interval if one is named, over a period (Unix seconds).

    10,000 groups at most; where the answer says `truncated`, `skip` those that it has for the next ones.
    """
    if tenant is not None:
        call.own_tenant(tenant)
    question = reports.Question(group_by=group_by, interval=interval, tenant=tenant, start=start, end=end, skip=skip)
    return call.answer(await call.run(lambda session: reports.report(session, question)))


@router.get("/records", operation_id="readUsageRecords", response_model=Page[LedgerRow])
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
    found = await call.run(lambda session: rows.rows(session, tenant=tenant, after=begin, limit=limit))
    return call.answer(page(found, limit=limit, key="usage_id"))


@internal.post(
    "",
    operation_id="enterUsage",
    response_model=ledger.Ingested,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"$ref": "#/components/schemas/UsageBatch"}},
                wire.MSGPACK: {"schema": {"$ref": "#/components/schemas/UsageBatch"}},
            },
        }
    },
)
async def enter_usage(call: Annotated[Call, Depends(callers("internal"))], request: Request) -> Response:
    """Enter records in the ledger, each usage id exactly once however often it is sent."""
    state = call.state
    records = wire.decode(await request.body(), content_type=request.headers.get("content-type", ""))
    days, old = state.partitions.days_of(records)
    await state.partitions.ensure(state.database, days)
    done = await call.run(lambda session: ledger.enter(session, records, prices=state.prices, old_days=old))
    state.ledger.count(done)
    return call.answer(done)


class CorrectionBody(Body):
    """What a row should say. What is left out stays as it is."""

    usage_id: UUID
    reason: Line
    input_tokens: Tokens | None = None
    cache_read_tokens: Tokens | None = None
    cache_write_tokens: Tokens | None = None
    output_tokens: Tokens | None = None
    reasoning_tokens: Tokens | None = None
    price_id: Annotated[str, StringConstraints(pattern=r"^price-[0-9a-f]{32}$")] | None = None
    """An entry of the price book by which it should have been charged."""
    cost_nano: Annotated[int, Field(ge=0, le=2**62)] | None = None
    """What it should cost in the end, in nano-units, whatever the price says."""


class HoursBody(Body):
    """A span of time, Unix seconds; the hours that begin in it."""

    start: Annotated[float, Field(ge=0, lt=1e11, alias="from")]
    end: Annotated[float, Field(ge=0, lt=1e11, alias="to")]


@router.get(
    "/events",
    operation_id="readUsageEvents",
    response_class=Response,
    responses={200: {"content": {events.MEDIA_TYPE: {"schema": {"type": "string"}}}}},
)
async def read_events(
    call: PlatformOrTenant,
    tenant: Annotated[Id | None, Query()] = None,
    cursor: Annotated[str, Query(max_length=100)] = "",
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
) -> Response:
    """Rows as CloudEvents, one a line, in the order of their arrival. Go on with the `cursor` of the last event."""
    if tenant is not None:
        call.own_tenant(tenant)
    lines = await call.run(lambda session: events.page(session, tenant=tenant, cursor=cursor, limit=limit))
    return Response(lines, media_type=events.MEDIA_TYPE)


@router.get("/charges", operation_id="readCharges", response_model=charges.Charges)
async def read_charges(
    call: PlatformOrTenant,
    start: Annotated[float, Query(ge=0, lt=1e11, alias="from")],
    end: Annotated[float, Query(ge=0, lt=1e11, alias="to")],
    tenant: Annotated[Id | None, Query()] = None,
    interval: Literal["hour", "day"] = "day",
) -> Response:
    """What the rows of a period cost, in the columns of FOCUS 1.2. At most 32 days at once; amounts are decimals."""
    if tenant is not None:
        call.own_tenant(tenant)
    period = charges.Period(tenant=tenant, start=start, end=end, interval=interval)
    return call.answer(await call.run(lambda session: charges.read(session, period)))


@router.post("/corrections", status_code=201, operation_id="correctUsage", response_model=LedgerRow)
async def correct(call: Platform, body: CorrectionBody) -> Response:
    """Correct a row by another one, which counts today. The row itself stays as it is."""
    truth, actor = corrections.Truth(**body.model_dump()), call.principal.name
    return await call.once(lambda session: corrections.correct(session, truth=truth, actor=actor))


@router.get("/drift", operation_id="readUsageDrift", response_model=rollups.Drift)
async def read_drift(
    call: Platform,
    start: Annotated[float, Query(ge=0, lt=1e11, alias="from")],
    end: Annotated[float, Query(ge=0, lt=1e11, alias="to")],
) -> Response:
    """Compare the sums by hour with the rows."""
    return call.answer(await call.run(lambda session: rollups.drift(session, start=start, end=end)))


@router.post("/rebuild", operation_id="rebuildUsage", response_model=rollups.Drift)
async def rebuild(call: Platform, body: HoursBody) -> Response:
    """Make the sums by hour anew from the rows, and answer how far they were off."""

    async def work(session: AsyncSession) -> rollups.Drift:
        await rollups.lock(session)
        found = await rollups.drift(session, start=body.start, end=body.end)
        await rollups.rebuild(session, start=body.start, end=body.end)
        return found

    return call.answer(await call.run(work))
