"""Records that the audit chain binds, as they are stored now: read anew from their tables, with the salts of old."""

from collections.abc import Mapping
from typing import Any

from paddock_core.audit.records import Stored, seal
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from paddock_controlplane.audit.models import SealRow
from paddock_controlplane.entities import service as entities
from paddock_controlplane.entities.models import EntityRow
from paddock_controlplane.licensing.acceptances import acceptance_record, statement_record
from paddock_controlplane.licensing.models import AcceptanceRow, StatementRow


async def page(session: AsyncSession, *, kind: str, after: str, limit: int) -> list[Stored]:
    """Records of a kind after an id, in the order of ids."""
    if kind == "entity":
        rows = await session.scalars(select(EntityRow).where(EntityRow.id > after).order_by(EntityRow.id).limit(limit))
        bodies = {row.id: entities.entity_record(entities.document(row)) for row in rows}
        return await _stored(session, kind, bodies)
    if kind == "statement":
        said = await session.scalars(
            select(StatementRow).where(StatementRow.id > after).order_by(StatementRow.id).limit(limit)
        )
        return await _stored(session, kind, {row.id: statement_record(row) for row in said})
    accepted = list(
        await session.scalars(
            select(AcceptanceRow).where(AcceptanceRow.id > after).order_by(AcceptanceRow.id).limit(limit)
        )
    )
    proofs = {row.id: (row.audit_seq, row.audit_digest) for row in accepted}
    return await _stored(session, kind, {row.id: acceptance_record(row) for row in accepted}, proofs)


async def _stored(
    session: AsyncSession,
    kind: str,
    bodies: Mapping[str, Mapping[str, Any]],
    proofs: Mapping[str, tuple[int | None, str | None]] | None = None,
) -> list[Stored]:
    salts = await session.execute(select(SealRow.id, SealRow.salt).where(SealRow.kind == kind, SealRow.id.in_(bodies)))
    known = {row.id: row.salt for row in salts}
    found = []
    for name, body in bodies.items():
        seq, digest = (proofs or {}).get(name, (None, None))
        text = seal(kind=kind, record_id=name, salt=known[name], body=body) if name in known else None
        found.append(Stored(kind=kind, id=name, seal=text, audit_seq=seq, audit_digest=digest))
    return found
