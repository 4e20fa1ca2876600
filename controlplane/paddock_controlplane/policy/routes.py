"""The policy, for gateways and the operator."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from paddock_core.policy.wire import Changes, Snapshot
from sqlalchemy.ext.asyncio import AsyncSession

from paddock_controlplane.call import Call, callers
from paddock_controlplane.policy import service

router = APIRouter(prefix="/internal/v1/policy", tags=["internal"])

Internal = Annotated[Call, Depends(callers("internal"))]


@router.get("", operation_id="readPolicy", response_model=Snapshot, responses={304: {"description": "Unchanged"}})
async def read_policy(call: Internal, request: Request) -> Response:
    """Every policy object at the newest revision; the revision is the ETag."""
    state = call.state
    known = request.headers.get("if-none-match", "").removeprefix("W/").strip('"')
    if known and known == str(await call.run(service.revision)):
        return Response(status_code=304, headers={"etag": f'"{known}"'})
    snapshot = await service.read_snapshot(state.database, max_age_seconds=state.settings.max_policy_age_seconds)
    return call.answer(snapshot, headers={"etag": f'"{snapshot.revision}"'})


@router.get("/changes", operation_id="followPolicy", response_model=Changes)
async def follow_policy(
    call: Internal,
    after: Annotated[int, Query(ge=0)],
    wait: Annotated[float, Query(ge=0, le=60)] = 0.0,
) -> Response:
    """The changes after a revision: at once if there are any, else when one comes or `wait` seconds are over."""
    state = call.state

    async def work(session: AsyncSession) -> Changes:
        return await service.changes(session, after=after, max_age_seconds=state.settings.max_policy_age_seconds)

    news = await call.run(work)
    if not news.changes and news.revision == after and wait:
        await state.feed.wait_beyond(after, seconds=wait)
        news = await call.run(work)
    return call.answer(news)
