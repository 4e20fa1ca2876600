"""`record`: the one way in which a mutation reaches the audit log and the policy log, in its own transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

import msgspec
from paddock_core.audit.chain import Entry, canonical
from sqlalchemy import func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from paddock_controlplane.audit.models import AuditRow, HeadRow
from paddock_controlplane.policy.models import PolicyRow

CHANNEL = "paddock_policy"
"""NOTIFY channel on which a new revision is told."""

_NAMES = tuple(field.name for field in fields(Entry))
_COLUMNS = tuple(getattr(AuditRow, name) for name in _NAMES)


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyChange:
    """What followers are to learn: the object's new body, or None if it is gone."""

    kind: str
    id: str
    body: object | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What is written down about a mutation. `commitments` stand for personal data, which never enters the chain."""

    actor: str
    action: str
    subject: str
    tenant: str | None = None
    entity: str | None = None
    detail: Mapping[str, Any] | None = None
    commitments: Sequence[str] = ()
    changes: Sequence[PolicyChange] = ()


async def record(session: AsyncSession, event: Event) -> Entry:
    """Append the audit entry and the policy changes. Call it last in a transaction: it holds the line of mutations.

    The update of the single head row makes concurrent mutations wait for each other until they commit, so the chain is
    linear and a follower never sees revision N+1 before N.
    """
    head = await session.execute(
        update(HeadRow)
        .values(audit_seq=HeadRow.audit_seq + 1, revision=HeadRow.revision + len(event.changes))
        .returning(HeadRow.audit_seq, HeadRow.revision, HeadRow.audit_digest)
        .execution_options(synchronize_session=False)
    )
    seq, revision, prev = head.one()
    entry = _entry(event, seq=seq, prev=prev)
    session.add(_row(entry))
    await session.execute(
        update(HeadRow).values(audit_digest=entry.digest).execution_options(synchronize_session=False)
    )
    first = revision - len(event.changes) + 1
    session.add_all(
        PolicyRow(revision=first + offset, kind=change.kind, id=change.id, body=_body(change))
        for offset, change in enumerate(event.changes)
    )
    await session.flush()
    if event.changes:
        await session.execute(select(func.pg_notify(CHANNEL, str(revision))))
    return entry


async def entries(session: AsyncSession, *, after: int, limit: int) -> list[Entry]:
    """Entries after a sequence number, oldest first."""
    # Columns, not objects: a verification reads a million of them.
    rows = await session.execute(select(*_COLUMNS).where(AuditRow.seq > after).order_by(AuditRow.seq).limit(limit))
    return [Entry(**{**dict(zip(_NAMES, row, strict=True)), "at": _text(row[1])}) for row in rows]


async def head(session: AsyncSession) -> tuple[int, str]:
    """Sequence number and digest of the newest entry."""
    found = await session.execute(text("SELECT audit_seq, audit_digest FROM head"))
    seq, digest = found.one()
    return seq, digest


def _entry(event: Event, *, seq: int, prev: str) -> Entry:
    return Entry(
        seq=seq,
        at=_text(datetime.now(UTC)),
        actor=event.actor,
        action=event.action,
        subject=event.subject,
        tenant=event.tenant,
        entity=event.entity,
        detail=canonical(dict(event.detail or {})),
        commitments=canonical(list(event.commitments)),
        prev=prev,
    ).sealed()


def _row(entry: Entry) -> AuditRow:
    return AuditRow(**{**msgspec.to_builtins(entry), "at": datetime.fromisoformat(entry.at)})


def _text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def _body(change: PolicyChange) -> Any:
    return None if change.body is None else msgspec.to_builtins(change.body)
