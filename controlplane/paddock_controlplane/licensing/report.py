"""The report on one license for one month: who accepted it under which words, statements, grants, who was served."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from paddock_core.catalog.loader import Catalog
from paddock_core.catalog.types import LicenseEntry
from sqlalchemy import func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from paddock_controlplane.active_users import reading as users
from paddock_controlplane.active_users.reading import EntityUsers
from paddock_controlplane.artifacts.models import ArtifactRow
from paddock_controlplane.artifacts.references import Models
from paddock_controlplane.entities.models import PersonRow
from paddock_controlplane.licensing.grants import GrantView
from paddock_controlplane.licensing.grants import list_page as list_grants
from paddock_controlplane.licensing.models import AcceptanceRow, CredentialRow, StatementRow, TextRow
from paddock_controlplane.licensing.platform import license_policy
from paddock_controlplane.licensing.statements import StatementView
from paddock_controlplane.licensing.statements import view as shown_statement
from paddock_controlplane.licensing.texts import Digests, license_entry
from paddock_controlplane.usage.models import UsageHourRow

_MOST = 100_000
_DAY_SECONDS = 86_400.0
_YEAR_SECONDS = 365 * _DAY_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """An acceptance that stood in the month, or ended in it. Times are Unix seconds."""

    id: str
    entity: str
    role: str
    signatory: str | None
    """Name and title; null once erased."""
    link_issued_by: str | None
    """Who issued the signatory's link, with which admin token, and who had issued that; null where none is known."""
    jurisdiction: str
    at: float
    state: str
    ended_at: float | None
    ended_reason: str | None
    digests: dict[str, Digests]


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What a tenant used of the license's models in the month, from the ledger."""

    tenant: str
    deployment: str
    model: str
    requests: int
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """Where the platform shows the texts of a model that was served in the month."""

    model: str
    at: list[str]
    """Paths at this control plane."""
    files: int
    """Known copies of its weights here; a file `Notice` lies beside each that this platform fetched."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expiry:
    """What ends after the month, soonest first."""

    what: str
    id: str
    entity: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LicenseReport:
    """The report. `attribution` and `notice` are what the license asks to be shown and kept."""

    license: str
    title: str
    month: str
    texts: dict[str, Digests]
    """As imported now."""
    attribution: list[str]
    notice: str | None
    acceptances: list[Accepted]
    statements: list[StatementView]
    grants: list[GrantView]
    served: list[Served]
    active_users: list[EntityUsers]
    """Of entities that accepted the license: what the platform counted in the month, over all their products here."""
    shown: list[Shown]
    """What the platform itself does so that notices are seen; display in products is each entity's duty."""
    expires_next: list[Expiry]


async def report(session: AsyncSession, *, models: Models, license_id: str, month: str) -> LicenseReport:
    """The report on a month, `YYYY-MM`. What was made from a model counts under its licenses, deleted ones too.

    Raises:
        LicenseUnknown: the catalogue has no such license.
    """
    catalog = models.catalog
    entry = license_entry(catalog, license_id)
    start, end = _bounds(month)
    texts = await session.scalars(select(TextRow).where(TextRow.license == entry.id))
    accepted = await _accepted(session, entry, start, end)
    statements = await _statements(session, entry, end)
    grants = [
        item
        for item in await list_grants(session, entity=None, license_id=entry.id, after="", limit=_MOST, viewer=None)
        if item.valid_from < end.timestamp() and item.valid_to > start.timestamp()
    ]
    served = await _served(session, models.under(entry.id), start, end)
    return LicenseReport(
        license=entry.id,
        title=entry.title,
        month=month,
        texts={row.role: Digests(raw=row.raw, canonical=row.canonical) for row in texts},
        attribution=[str(clause.params["text"]) for clause in entry.clauses if clause.type == "display"],
        notice=entry.notice,
        acceptances=accepted,
        statements=statements,
        grants=grants,
        served=served,
        active_users=await _active_users(session, catalog, entry, month, accepted),
        shown=await _shown(session, sorted({item.model for item in served})),
        expires_next=await _expiries(session, entry, statements, grants, end),
    )


def _bounds(month: str) -> tuple[datetime, datetime]:
    start = datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC)
    following = start.year * 12 + start.month
    return start, start.replace(year=following // 12, month=following % 12 + 1)


async def _accepted(session: AsyncSession, entry: LicenseEntry, start: datetime, end: datetime) -> list[Accepted]:
    found = await session.execute(
        select(AcceptanceRow, PersonRow, CredentialRow)
        .outerjoin(PersonRow, PersonRow.id == AcceptanceRow.person)
        .outerjoin(CredentialRow, CredentialRow.id == AcceptanceRow.credential)
        .where(
            AcceptanceRow.license == entry.id,
            AcceptanceRow.at < end.timestamp(),
            or_(AcceptanceRow.ended_at.is_(None), AcceptanceRow.ended_at >= start),
        )
        .order_by(AcceptanceRow.entity, AcceptanceRow.at)
        .limit(_MOST)
    )
    return [
        Accepted(
            id=row.id,
            entity=row.entity,
            role=row.role,
            signatory=f"{person.name}, {person.title}" if person is not None else None,
            link_issued_by=_link_issued_by(link) if link is not None else None,
            jurisdiction=row.jurisdiction,
            at=row.at,
            state=row.state,
            ended_at=row.ended_at.timestamp() if row.ended_at else None,
            ended_reason=row.ended_reason,
            digests={role: Digests(**digests) for role, digests in row.digests.items()},
        )
        for row, person, link in found
    ]


def _link_issued_by(link: CredentialRow) -> str:
    if not link.issued_token:
        return link.issued_by
    return f"{link.issued_by} with admin-token:{link.issued_token}, which {link.token_issued_by} issued"


async def _statements(session: AsyncSession, entry: LicenseEntry, end: datetime) -> list[StatementView]:
    rows = await session.scalars(
        select(StatementRow)
        .where(StatementRow.license == entry.id, StatementRow.at < end.timestamp())
        .order_by(StatementRow.entity, StatementRow.at)
        .limit(_MOST)
    )
    return [shown_statement(row) for row in rows]


async def _served(session: AsyncSession, models: list[str], start: datetime, end: datetime) -> list[Served]:
    group = (UsageHourRow.tenant, UsageHourRow.deployment, UsageHourRow.model)
    sums = [
        func.sum(column) for column in (UsageHourRow.requests, UsageHourRow.input_tokens, UsageHourRow.output_tokens)
    ]
    found = await session.execute(
        select(*group, *sums)
        .where(UsageHourRow.model.in_(models), UsageHourRow.hour >= start, UsageHourRow.hour < end)
        .group_by(*group)
        .order_by(*group)
        .limit(_MOST)
    )
    return [
        Served(
            tenant=row[0],
            deployment=row[1],
            model=row[2],
            requests=int(row[3]),
            input_tokens=int(row[4]),
            output_tokens=int(row[5]),
        )
        for row in found
    ]


async def _shown(session: AsyncSession, models: list[str]) -> list[Shown]:
    counts = await session.execute(
        select(ArtifactRow.model, func.count())
        .where(ArtifactRow.model.in_(models), ArtifactRow.kind == "weights")
        .group_by(ArtifactRow.model)
    )
    files = {row[0]: int(row[1]) for row in counts}
    return [
        Shown(model=model, at=["/console/models", f"/v1/models/{model}/notice"], files=files.get(model, 0))
        for model in models
    ]


async def _active_users(
    session: AsyncSession, catalog: Catalog, entry: LicenseEntry, month: str, accepted: list[Accepted]
) -> list[EntityUsers]:
    """With the threshold of this license alone."""
    entities = sorted({item.entity for item in accepted})
    found = await users.entities(session, catalog=catalog, month=month, after="", limit=_MOST, only=entities)
    return [
        replace(item, thresholds=[near for near in item.thresholds if near.license == entry.id]) for item in found.items
    ]


async def _expiries(
    session: AsyncSession,
    entry: LicenseEntry,
    statements: list[StatementView],
    grants: list[GrantView],
    end: datetime,
) -> list[Expiry]:
    """Grants in force, days of grace, and the statements that a careful platform has made again every year."""
    stale = await session.scalars(
        select(AcceptanceRow).where(AcceptanceRow.license == entry.id, AcceptanceRow.state == "stale").limit(_MOST)
    )
    found = [
        Expiry(what="grant", id=item.id, entity=item.entity, at=item.valid_to)
        for item in grants
        if item.state == "active"
    ]
    found += [
        Expiry(what="grace", id=row.id, entity=row.entity, at=row.grace_until)
        for row in stale
        if row.grace_until is not None
    ]
    if (await license_policy(session)).threshold == "conservative":
        newest = {item.entity: item for item in statements}
        found += [
            Expiry(what="statement", id=item.id, entity=item.entity, at=item.at + _YEAR_SECONDS)
            for item in newest.values()
        ]
    return sorted((item for item in found if item.at >= end.timestamp()), key=lambda item: (item.at, item.id))
