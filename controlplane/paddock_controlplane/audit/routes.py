"""Reading the audit log."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from paddock_core.audit.chain import Entry, Head, head_of
from sqlalchemy.ext.asyncio import AsyncSession

from paddock_controlplane.audit import service
from paddock_controlplane.call import Call, callers

router = APIRouter(prefix="/v1/audit", tags=["audit"])


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

    async def work(session: AsyncSession) -> AuditPage:
        items = await service.entries(session, after=after, limit=limit)
        seq, digest = await service.head(session)
        more = items[-1].seq if len(items) == limit else None
        return AuditPage(items=items, next=more, head=head_of(key=call.state.audit_key, seq=seq, digest=digest))

    return call.answer(await call.run(work))
