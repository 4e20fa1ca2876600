"""Receipts: everything that was agreed in one acceptance, and the proof of it, to be read again later."""

from dataclasses import dataclass

from paddock_core.catalog.loader import Catalog
from paddock_core.catalog.types import LicenseEntry
from paddock_core.licensing.types import Role
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from paddock_controlplane.entities import service as entities
from paddock_controlplane.entities.models import PersonRow
from paddock_controlplane.licensing.acceptances import AcceptanceView, shown
from paddock_controlplane.licensing.answers import Person, Users
from paddock_controlplane.licensing.errors import AcceptanceUnknown
from paddock_controlplane.licensing.models import AcceptanceRow, CredentialRow, StatementRow
from paddock_controlplane.licensing.questions import promise
from paddock_controlplane.licensing.texts import license_entry


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkRecord:
    """The link with which the acceptance was signed. Times are Unix seconds."""

    credential: str
    issued_to: str
    delivered_by: str
    issued_by: str
    token: str
    """Id of the admin token with which it was issued; empty for the platform's own token."""
    token_issued_by: str
    """Who issued that token: `platform` for an entity's first, else `admin-token:ID`."""
    issued_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptDocument(AcceptanceView):
    """An acceptance with all that was answered, and its place in the audit log."""

    legal_name: str
    title: str
    licensor: str
    person: Person | None
    """Who signed; None once that person's data is erased."""
    link: LinkRecord | None
    statement: str | None
    users: Users | None
    """The statement of monthly active users, where one was asked for."""
    threshold: int | None
    """The number of users that its band is about."""
    promise: str | None
    """The duty that `flow_down` is about, where it was asked."""
    audit_seq: int | None
    audit_digest: str | None


async def receipt(session: AsyncSession, *, catalog: Catalog, acceptance_id: str) -> ReceiptDocument:
    """The receipt of an acceptance.

    Raises:
        AcceptanceUnknown: the caller sees none with this id.
    """
    row = await session.get(AcceptanceRow, acceptance_id)
    if row is None:
        raise AcceptanceUnknown(f"no acceptance {acceptance_id}: see `paddock license list`")
    entry = license_entry(catalog, row.license)
    entity = await entities.find(session, row.entity)
    person = await session.get(PersonRow, row.person) if row.person else None
    credential = await session.get(CredentialRow, row.credential) if row.credential else None
    statement = await session.scalar(
        select(StatementRow).where(StatementRow.acceptance == row.id, StatementRow.corrects.is_(None))
    )
    duty = promise(entry, Role(row.role))
    return ReceiptDocument(
        **shown(row),
        legal_name=entity.legal_name,
        title=entry.title,
        licensor=entry.licensor_of(entity.principal_place_of_business),
        person=Person(name=person.name, title=person.title, email=person.email, authority=person.authority)
        if person
        else None,
        link=_link(credential) if credential else None,
        statement=statement.id if statement else None,
        users=_users(statement) if statement else None,
        threshold=_threshold(entry) if statement else None,
        promise=duty.duty if duty else None,
        audit_seq=row.audit_seq,
        audit_digest=row.audit_digest,
    )


async def receipt_of_link(session: AsyncSession, *, catalog: Catalog, credential_id: str) -> ReceiptDocument:
    """The receipt of what was signed with a link.

    Raises:
        AcceptanceUnknown: nothing was.
    """
    found = await session.scalar(select(AcceptanceRow.id).where(AcceptanceRow.credential == credential_id))
    if found is None:
        raise AcceptanceUnknown("nothing was signed with this link yet")
    return await receipt(session, catalog=catalog, acceptance_id=found)


def _link(row: CredentialRow) -> LinkRecord:
    return LinkRecord(
        credential=row.id,
        issued_to=row.name,
        delivered_by=row.delivered_by,
        issued_by=row.issued_by,
        token=row.issued_token,
        token_issued_by=row.token_issued_by,
        issued_at=row.issued_at.timestamp(),
    )


def _threshold(entry: LicenseEntry) -> int | None:
    """The number of the license's clause, whomever the platform's policy asks now."""
    values = (int(clause.params["value"]) for clause in entry.clauses if clause.type == "scale_threshold")
    return next(values, None)


def _users(row: StatementRow) -> Users:
    return Users(
        band=row.band,
        month=row.month,
        method=row.method,
        affiliates_included=row.affiliates_included,
        value=row.value,
        current=row.current,
        affiliates=tuple(row.affiliates),
    )
