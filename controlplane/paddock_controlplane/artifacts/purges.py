"""Carrying out purges: ordered, started (from then on nobody can need the files), done with what was removed."""

import time
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from paddock_controlplane.artifacts import references
from paddock_controlplane.artifacts.errors import PurgeEnded, PurgeUnknown
from paddock_controlplane.artifacts.models import ArtifactRow, PurgeRow, ReferenceRow
from paddock_controlplane.artifacts.store import ArtifactStore
from paddock_controlplane.audit.service import Event, record


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovedFile:
    """A file that was removed: where it lay, its SHA-256 in hex, and its size in bytes."""

    path: str
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PurgeView:
    """A purge as it is shown. Times are Unix seconds."""

    id: str
    model: str
    state: str
    why: str
    """last_reference: nobody licensed needed the files any more. operator: the platform's own license ended."""
    cause: str
    """The acceptance whose end ordered it."""
    license: str
    ordered_at: float
    started_at: float | None
    ended_at: float | None
    removed: list[RemovedFile]
    kept: list[str]
    """Files that another model's license holds."""
    bytes: int


async def start(session: AsyncSession, *, purge_id: str) -> PurgeView:
    """Begin. Asked again, the answer is the same.

    Raises:
        PurgeUnknown: there is none with this id.
        PurgeEnded: it was withdrawn or is done.
    """
    row = await _locked(session, purge_id)
    if row.state == "ordered":
        row.state, row.started_at = "started", time.time()
        await session.flush()
        changes = [await references.change(session, row)]
        detail = {"purge": row.id}
        event = Event(
            actor="internal", action="artifact.purge_start", subject=row.model, detail=detail, changes=changes
        )
        await record(session, event)
    elif row.state != "started":
        raise PurgeEnded(f"purge {purge_id} is {row.state}: nothing is to be removed for it")
    return view(row)


async def finish(
    session: AsyncSession, *, store: ArtifactStore, purge_id: str, removed: list[RemovedFile], kept: list[str]
) -> PurgeView:
    """Write down what was removed from the volume, and remove what only this model published. Told twice, once is kept.

    Raises:
        PurgeUnknown: there is none with this id.
        PurgeEnded: it was withdrawn, or never started.
    """
    row = await _locked(session, purge_id)
    if row.state == "done":
        return view(row)
    if row.state != "started":
        raise PurgeEnded(f"purge {purge_id} is {row.state}: nothing was to be removed for it")
    files = [*removed, *await _unpublish(session, store, row.model)]
    row.state, row.ended_at = "done", time.time()
    row.removed = [{"path": item.path, "sha256": item.sha256, "bytes": item.bytes} for item in files]
    row.kept, row.bytes = kept, sum(item.bytes for item in files)
    await session.flush()
    detail: dict[str, Any] = {"purge": row.id, "why": row.why, "cause": row.cause, "license": row.license}
    detail |= {"removed": row.removed, "kept": row.kept, "bytes": row.bytes}
    changes = [await references.change(session, row)]
    event = Event(actor="internal", action="artifact.purge", subject=row.model, detail=detail, changes=changes)
    await record(session, event)
    return view(row)


async def list_page(session: AsyncSession, *, after: str, limit: int) -> list[PurgeView]:
    """Purges after an id, one more than `limit` if there are more."""
    rows = await session.scalars(select(PurgeRow).where(PurgeRow.id > after).order_by(PurgeRow.id).limit(limit + 1))
    return [view(row) for row in rows]


def view(row: PurgeRow) -> PurgeView:
    """The purge as it is shown."""
    return PurgeView(
        id=row.id,
        model=row.model,
        state=row.state,
        why=row.why,
        cause=row.cause,
        license=row.license,
        ordered_at=row.ordered_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        removed=[RemovedFile(**item) for item in row.removed],
        kept=list(row.kept),
        bytes=row.bytes,
    )


async def _locked(session: AsyncSession, purge_id: str) -> PurgeRow:
    await references.lock(session)
    row = await session.get(PurgeRow, purge_id)
    if row is None:
        raise PurgeUnknown(f"no purge {purge_id}: see `paddock license purges`")
    return row


async def _unpublish(session: AsyncSession, store: ArtifactStore, model: str) -> list[RemovedFile]:
    """Tokenizers that no other model published. The file goes first: a crash leaves a row, which the next try ends."""
    mine = select(ArtifactRow.digest).where(ArtifactRow.model == model, ArtifactRow.kind == "tokenizer")
    others = set(
        await session.scalars(
            select(ArtifactRow.digest).where(ArtifactRow.model != model, ArtifactRow.digest.in_(mine))
        )
    )
    removed = []
    for digest in list(await session.scalars(mine.order_by(ArtifactRow.digest))):
        if digest not in others:
            size = await store.remove(digest)
            removed.append(RemovedFile(path=f"tokenizer/{digest}", sha256=digest, bytes=size))
    # What unlicensed entities still pointed at is gone too.
    await session.execute(delete(ReferenceRow).where(ReferenceRow.model == model))
    await session.execute(delete(ArtifactRow).where(ArtifactRow.model == model))
    return removed
