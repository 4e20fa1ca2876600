"""Purges over HTTP: what the operator carries out, and what the platform team reads."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Response
from pydantic import Field

from paddock_controlplane.artifacts import purges
from paddock_controlplane.artifacts.errors import OtherModel
from paddock_controlplane.artifacts.store import ArtifactStore
from paddock_controlplane.call import Call, callers
from paddock_controlplane.db import EVERYTHING
from paddock_controlplane.fields import Body, Line
from paddock_controlplane.paging import After, Limit, Page, page

router = APIRouter(prefix="/v1/purges", tags=["licensing"])
internal = APIRouter(prefix="/internal/v1/purges", tags=["internal"])

PurgeId = Annotated[str, Field(pattern=r"^pur-[a-z2-7]{12}$")]
_MOST_FILES = 20_000


class FileBody(Body):
    """A file that is no more."""

    path: Annotated[str, Field(min_length=1, max_length=1000)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    bytes: Annotated[int, Field(ge=0, le=2**53)]


class RemovedBody(Body):
    """What a purge found and removed."""

    removed: Annotated[tuple[FileBody, ...], Field(max_length=_MOST_FILES)]
    kept: Annotated[tuple[Line, ...], Field(max_length=_MOST_FILES)] = ()
    """What stays because another model's license holds it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PurgeToken:
    """A token for the Job that removes the files; `expires_at` is Unix time in seconds."""

    token: str
    expires_at: float


@internal.post("/{purge}/start", operation_id="startPurge", response_model=PurgeToken)
async def start(call: Annotated[Call, Depends(callers("internal"))], purge: PurgeId) -> Response:
    """Asked by the operator once nothing uses the files: from then on nobody can come to need them."""
    await call.run(lambda session: purges.start(session, purge_id=purge))
    token, expires_at = call.state.decisions.issue(subject=purge, verb="purge")
    return call.answer(PurgeToken(token=token, expires_at=expires_at))


@internal.post("/{purge}/removed", operation_id="finishPurge", response_model=purges.PurgeView)
async def removed(call: Annotated[Call, Depends(callers("purge"))], purge: PurgeId, body: RemovedBody) -> Response:
    """Told by the Job after it removed the files: each with its digest."""
    if call.principal.model != purge:
        raise OtherModel(f"this token is for purge {call.principal.model}, not for {purge}")
    files = [purges.RemovedFile(**item.model_dump()) for item in body.removed]
    done = await call.state.database.run(
        EVERYTHING,
        lambda session: purges.finish(
            session,
            store=ArtifactStore(call.state.settings.artifacts_dir),
            purge_id=purge,
            removed=files,
            kept=list(body.kept),
        ),
    )
    return call.answer(done)


@router.get("", operation_id="listPurges", response_model=Page[purges.PurgeView])
async def list_purges(
    call: Annotated[Call, Depends(callers("platform"))], after: After = "", limit: Limit = 100
) -> Response:
    """Every order to remove a model's files, and what was removed."""
    return call.answer(
        page(await call.run(lambda session: purges.list_page(session, after=after, limit=limit)), limit=limit)
    )
