"""Reading the audit log, and what gateways and the operator tell for it."""

import time
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
from fastapi import APIRouter, Depends, Query, Response
from paddock_core.audit.chain import Entry, Head, head_of
from paddock_core.audit.records import Stored
from paddock_core.licensing.types import Reason, Role, Verb
from pydantic import Field
from sqlalchemy.ext.asyncio import AsyncSession

from paddock_controlplane.audit import denials, service, stored_records
from paddock_controlplane.call import Call, callers
from paddock_controlplane.fields import Body, CatalogId, Id

router = APIRouter(prefix="/v1/audit", tags=["audit"])
internal = APIRouter(prefix="/internal/v1/denials", tags=["internal"])

Moment = Annotated[float, Field(ge=0, lt=1e11)]


class DenialBody(Body):
    """So many decisions that denied alike. Times are Unix seconds."""

    entity: Id | Literal["", "*"]
    """Who was denied; empty where nobody is registered, `*` for many that are not told apart."""
    role: Role | Literal["*"]
    verb: Verb | Literal["*"]
    model: CatalogId | Literal["*"]
    reason: Reason | Literal["*"]
    count: Annotated[int, Field(ge=1, le=2**53)]
    first_at: Moment
    last_at: Moment


class DenialsBody(Body):
    """What one part denied since it told last."""

    source: Literal["gateway", "operator"]
    denials: Annotated[tuple[DenialBody, ...], Field(max_length=500)]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPage:
    """Entries, oldest first, and the head of the chain. `next` is the `after` of the next page, if there is one."""

    items: list[Entry]
    next: int | None
    head: Head


@router.get("", operation_id="readAudit", response_model=AuditPage)
async def read(
    call: Annotated[Call, Depends(callers("platform"))],
    after: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=5000)] = 200,
) -> Response:
    """A page of the audit log."""

    async def work(session: AsyncSession) -> bytes:
        items, count, last = await service.entries(session, after=after, limit=limit)
        seq, digest = await service.head(session)
        head = msgspec.json.encode(head_of(key=call.state.audit_key, seq=seq, digest=digest))
        more = str(last).encode() if count == limit else b"null"
        return b'{"items":' + items + b',"next":' + more + b',"head":' + head + b"}"

    return Response(await call.run(work), media_type="application/json")


@router.get("/records/{kind}", operation_id="readAuditedRecords", response_model=list[Stored])
async def records(
    call: Annotated[Call, Depends(callers("platform"))],
    kind: Literal["entity", "acceptance", "statement"],
    after: Annotated[str, Query(max_length=100)] = "",
    limit: Annotated[int, Query(ge=1, le=5000)] = 1000,
) -> Response:
    """Records that the log binds, as they are stored now, by id: whoever verifies compares them with the log."""
    return call.answer(
        await call.run(lambda session: stored_records.page(session, kind=kind, after=after, limit=limit))
    )


@internal.post("", status_code=204, operation_id="tellDenials")
async def tell(call: Annotated[Call, Depends(callers("internal"))], body: DenialsBody) -> Response:
    """Told about every minute by gateways and the operator: what their license decisions denied, counted."""
    told = [denials.Denial(source=body.source, **item.model_dump(mode="json")) for item in body.denials]
    await call.run(lambda session: denials.add(session, told, now=time.time()))
    return Response(status_code=204)
