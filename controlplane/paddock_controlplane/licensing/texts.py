"""Importing license texts: only the words that the catalogue pins."""

from dataclasses import dataclass
from datetime import UTC, datetime

from paddock_core.catalog.loader import Catalog
from paddock_core.catalog.types import LicenseEntry, TextPin
from paddock_core.licensing.texts import canonical_digest, canonical_text, first_difference, raw_digest
from paddock_core.policy.documents import LicenseText
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from paddock_controlplane.audit.service import Event, PolicyChange, record
from paddock_controlplane.licensing.errors import LicenseUnknown, TextMismatch, TextNotImported
from paddock_controlplane.licensing.models import TextRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Digests:
    """`sha256:<hex>` of the bytes and of the canonical words of a text."""

    raw: str
    canonical: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What was imported."""

    license: str
    texts: dict[str, Digests]


def license_entry(catalog: Catalog, license_id: str) -> LicenseEntry:
    """A license of the catalogue.

    Raises:
        LicenseUnknown: the catalogue has none with this id.
    """
    entry = catalog.license(license_id)
    if entry is None:
        known = ", ".join(sorted(catalog.licenses))
        raise LicenseUnknown(f"no license {license_id} in the catalogue; there are: {known}")
    return entry


async def import_texts(
    session: AsyncSession, *, catalog: Catalog, license_id: str, contents: dict[str, str], actor: str
) -> Imported:
    """Check and store the texts of a license, by role (agreement, aup). All of them, or none.

    Raises:
        LicenseUnknown: the catalogue has no such license.
        TextMismatch: a text is missing, not asked for, or holds other words than those pinned.
    """
    entry = license_entry(catalog, license_id)
    expected, given = {pin.role for pin in entry.texts}, set(contents)
    if expected != given:
        raise TextMismatch(f"{entry.title} has the texts {sorted(expected)}, not {sorted(given)}: give exactly those")
    digests: dict[str, Digests] = {}
    for pin in entry.texts:
        digests[pin.role] = await _checked(session, catalog, entry, pin, contents[pin.role])
    changes = [await _store(session, license_id, role, found, contents[role]) for role, found in digests.items()]
    detail = {role: {"raw": found.raw, "canonical": found.canonical} for role, found in digests.items()}
    await record(
        session, Event(actor=actor, action="license.import", subject=license_id, detail=detail, changes=changes)
    )
    return Imported(license=license_id, texts=digests)


async def imported(session: AsyncSession, entry: LicenseEntry) -> dict[str, TextRow]:
    """The imported texts of a license by role.

    Raises:
        TextNotImported: one is missing.
    """
    rows = await session.scalars(select(TextRow).where(TextRow.license == entry.id))
    found = {row.role: row for row in rows}
    missing = [pin.role for pin in entry.texts if pin.role not in found]
    if missing:
        raise TextNotImported(
            f"the {' and '.join(missing)} of {entry.title} is not imported: the platform team runs "
            f"`paddock license import {entry.id} --agreement FILE{' --aup FILE' if entry.text('aup') else ''}`"
        )
    return found


async def import_state(session: AsyncSession) -> dict[str, set[str]]:
    """Which roles are imported, by license."""
    state: dict[str, set[str]] = {}
    for license_id, role in await session.execute(select(TextRow.license, TextRow.role)):
        state.setdefault(license_id, set()).add(role)
    return state


async def _checked(session: AsyncSession, catalog: Catalog, entry: LicenseEntry, pin: TextPin, content: str) -> Digests:
    found = Digests(raw=raw_digest(content.encode()), canonical=canonical_digest(content))
    if pin.has(found.canonical):
        return found
    difference = await _difference(session, catalog, entry, pin, content, found)
    raise TextMismatch(
        f"the {pin.role} is not that of {entry.title}: {difference}",
        expected=f"sha256:{pin.canonical}",
        found=found.canonical,
    )


async def _difference(
    session: AsyncSession, catalog: Catalog, entry: LicenseEntry, pin: TextPin, content: str, found: Digests
) -> str:
    """What can be said of the difference. The pinned words themselves are known only if they were imported before."""
    for other in catalog.licenses.values():
        for theirs in other.texts:
            if theirs.canonical == found.canonical.removeprefix("sha256:"):
                return f"these are the words of the {theirs.role} of {other.title}"
    earlier = await session.get(TextRow, (entry.id, pin.role))
    parted = first_difference(expected=earlier.content, found=content) if earlier else None
    if parted is not None:
        return (
            f"after {parted.after_words} equal words it says “{parted.found}” where the imported text says "
            f"“{parted.expected}”"
        )
    words = canonical_text(content).split()
    return (
        f"its {len(words)} words, beginning “{' '.join(words[:8])}”, have another digest: take the licensor's own file"
    )


async def _store(session: AsyncSession, license_id: str, role: str, digests: Digests, content: str) -> PolicyChange:
    """Other words than before begin their life now; the same words in other bytes keep the time they have."""
    earlier = await session.get(TextRow, (license_id, role), with_for_update=True)
    same = earlier is not None and earlier.canonical == digests.canonical
    imported_at = earlier.imported_at if earlier is not None and same else datetime.now(UTC)
    values = {"raw": digests.raw, "canonical": digests.canonical, "content": content, "imported_at": imported_at}
    statement = insert(TextRow).values(license=license_id, role=role, **values)
    await session.execute(statement.on_conflict_do_update(index_elements=["license", "role"], set_=values))
    key = f"{license_id}:{role}"
    body = LicenseText(
        id=key,
        license=license_id,
        role=role,
        raw=digests.raw,
        canonical=digests.canonical,
        at=imported_at.timestamp(),
    )
    return PolicyChange(kind="license_text", id=key, body=body)
