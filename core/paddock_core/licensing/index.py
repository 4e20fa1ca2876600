"""Look-up tables over `Facts`, so that a decision reads only what concerns one entity and one license."""

from collections import defaultdict
from dataclasses import dataclass

from paddock_core.licensing.types import Facts
from paddock_core.policy.documents import Acceptance, Grant, LicenseText, Statement

_KEY = "index"


@dataclass(frozen=True, slots=True, kw_only=True)
class FactsIndex:
    """The facts by the keys that clauses ask for. Every list is in an order that does not depend on the facts' own."""

    texts: dict[tuple[str, str], LicenseText]
    """By license and role of the text."""
    acceptances: dict[tuple[str, str], list[Acceptance]]
    """By entity and license, newest first."""
    statements: dict[tuple[str, str], list[Statement]]
    """By entity and license, newest first; of two equally old ones the one above the threshold comes first."""
    grants: dict[tuple[str, str], list[Grant]]
    """By entity and license, the one that lasts longest first."""
    groups: dict[str, frozenset[str]]
    """By entity: itself and its affiliates, whichever of the two sides declared it."""
    priced: frozenset[str]
    """Entities with a tenant on a priced plan."""


def index_of(facts: Facts) -> FactsIndex:
    """The tables of these facts; made once and kept with them."""
    found: FactsIndex | None = facts._derived.get(_KEY)  # noqa: SLF001 - the field exists for this module
    if found is None:
        found = facts._derived.setdefault(_KEY, _build(facts))  # noqa: SLF001
    return found


def _build(facts: Facts) -> FactsIndex:
    acceptances: defaultdict[tuple[str, str], list[Acceptance]] = defaultdict(list)
    for acceptance in sorted(facts.acceptances, key=lambda item: (-item.at, item.id)):
        acceptances[acceptance.entity, acceptance.license].append(acceptance)
    statements: defaultdict[tuple[str, str], list[Statement]] = defaultdict(list)
    for statement in sorted(facts.statements, key=lambda item: (-item.at, item.band, item.id)):
        statements[statement.entity, statement.license].append(statement)
    grants: defaultdict[tuple[str, str], list[Grant]] = defaultdict(list)
    for grant in sorted(facts.grants, key=lambda item: (-item.valid_to, item.id)):
        for license_id in grant.licenses:
            grants[grant.entity, license_id].append(grant)
    return FactsIndex(
        texts={(text.license, text.role): text for text in facts.texts},
        acceptances=dict(acceptances),
        statements=dict(statements),
        grants=dict(grants),
        groups=_groups(facts),
        priced=frozenset(tenant.entity for tenant in facts.tenants.values() if tenant.priced),
    )


def _groups(facts: Facts) -> dict[str, frozenset[str]]:
    groups: defaultdict[str, set[str]] = defaultdict(set)
    for entity in facts.entities.values():
        for affiliate in entity.affiliates:
            groups[entity.id].add(affiliate)
            groups[affiliate].add(entity.id)
    return {entity: frozenset(members | {entity}) for entity, members in groups.items()}
