"""Active users over HTTP: gateways send sketches; platform and tenants read figures."""

from datetime import UTC, datetime
from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Query, Request, Response
from paddock_core.active_users.documents import MOST_SKETCHES, PATH, SketchBatch, Taken

from paddock_controlplane.active_users import intake, reading
from paddock_controlplane.active_users.errors import BatchInvalid
from paddock_controlplane.call import Call, callers
from paddock_controlplane.fields import Id
from paddock_controlplane.paging import After

router = APIRouter(prefix="/v1/active-users", tags=["usage"])
internal = APIRouter(tags=["internal"])

Month = Annotated[str, Query(pattern=r"^[2-9]\d{3}-(0[1-9]|1[0-2])$", description="YYYY-MM, in UTC.")]
Some = Annotated[int, Query(ge=1, le=100)]
_BATCH = msgspec.json.Decoder(SketchBatch)


@router.get("", operation_id="readActiveUsers", response_model=reading.ActiveUsers)
async def read_tenants(
    call: Annotated[Call, Depends(callers("platform", "tenant"))],
    month: Month,
    tenant: Annotated[Id | None, Query()] = None,
    by_day: Annotated[bool, Query(description="With the figures of each day.")] = False,  # noqa: FBT002
    after: After = "",
    limit: Some = 50,
) -> Response:
    """Distinct end users of tenants in a month, estimated, with their bounds."""
    if tenant is not None:
        call.own_tenant(tenant)
    return call.answer(
        await call.run(
            lambda session: reading.tenants(
                session, month=month, tenant=tenant, by_day=by_day, after=after, limit=limit
            )
        )
    )


@router.get("/entities", operation_id="readActiveUsersOfEntities", response_model=reading.EntitiesUsers)
async def read_entities(
    call: Annotated[Call, Depends(callers("platform"))], month: Month, after: After = "", limit: Some = 50
) -> Response:
    """What is known of entities, and how near they come to the thresholds of the licenses that they accepted."""
    catalog = call.state.catalog
    return call.answer(
        await call.run(
            lambda session: reading.entities(session, catalog=catalog, month=month, after=after, limit=limit)
        )
    )


@internal.post(
    PATH,
    operation_id="takeActiveUsers",
    response_model=Taken,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/SketchBatch"}}},
        }
    },
)
async def take_sketches(call: Annotated[Call, Depends(callers("internal"))], request: Request) -> Response:
    """Unite sketches with what is there; sent again, they change nothing."""
    try:
        batch = _BATCH.decode(await request.body())
    except msgspec.DecodeError as error:
        raise BatchInvalid(f"the batch is not as expected: {error}") from error
    if len(batch.sketches) > MOST_SKETCHES:
        raise BatchInvalid(f"a batch holds at most {MOST_SKETCHES} sketches: send them in parts")
    return call.answer(await intake.take(call.state.database, batch.sketches, today=datetime.now(UTC).date()))
