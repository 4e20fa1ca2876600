"""`record`: the one way in which a mutation reaches the audit log and the policy log, in its own transaction."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import msgspec
from paddock_core.audit.chain import Entry, canonical
from paddock_core.audit.records import seal
from sqlalchemy import func, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from paddock_controlplane.audit.models import AuditRow, HeadRow, SealRow
from paddock_controlplane.policy.models import PolicyRow

CHANNEL = "paddock_policy"
"""NOTIFY channel on which a new revision is told."""

_SALT_BYTES = 32

_PAGE = text(
    "SELECT coalesce(json_agg(json_build_object('seq', seq,"
    " 'at', to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24\\:MI\\:SS.US') || '+00:00', 'actor', actor,"
    " 'action', action, 'subject', subject, 'tenant', tenant, 'entity', entity, 'detail', detail,"
    " 'commitments', commitments, 'prev', prev, 'digest', digest) ORDER BY seq), '[]')::text, count(*), max(seq)"
    " FROM (SELECT * FROM audit_log WHERE seq > :after ORDER BY seq LIMIT :limit) AS page"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyChange:
    """What followers are to learn: the object's new body, or None if it is gone."""

    kind: str
    id: str
    body: object | None
    record: Mapping[str, Any] | None = None
    """The whole stored record, where the entry is to bind it: its salted digest stands among the commitments."""
    entity: str = ""
    """Whose record it is."""


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
    event = replace(event, commitments=[*event.commitments, *await _seals(session, event.changes)])
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


async def _seals(session: AsyncSession, changes: Sequence[PolicyChange]) -> list[str]:
    """Seals of the records that are written, each with the salt that it has from its first entry on."""
    found: list[str] = []
    for change in changes:
        if change.record is None:
            continue
        row = await session.get(SealRow, (change.kind, change.id))
        if row is None:
            row = SealRow(kind=change.kind, id=change.id, entity=change.entity, salt=os.urandom(_SALT_BYTES))
            session.add(row)
        found.append(seal(kind=change.kind, record_id=change.id, salt=row.salt, body=change.record))
    await session.flush()
    return found


async def entries(session: AsyncSession, *, after: int, limit: int) -> tuple[bytes, int, int]:
    """Entries after a sequence number, oldest first: a JSON list, how many they are, and the last one's number.

    PostgreSQL writes the JSON: a verification reads a million of them, and nothing here looks into them.
    """
    found = await session.execute(_PAGE, {"after": after, "limit": limit})
    items, count, last = found.one()
    return items.encode(), int(count), int(last or after)


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
