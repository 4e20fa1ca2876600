"""Look-up tables over `Facts`, so that a decision reads only what concerns one entity and one license."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeVar

from paddock_core.licensing.types import Facts
from paddock_core.policy.documents import (
    Acceptance,
    Grant,
    LicensePolicy,
    LicenseText,
    RegisteredModel,
    Statement,
    Tenant,
)
from paddock_core.policy.packed import Packed

_KEY = "index"
_NO_ID = re.compile(r"[\W_]+")
_T = TypeVar("_T", Acceptance, Statement)
_KEPT = 1024
"""Entities whose records stay at hand once they were asked for."""
_Records = Callable[[str], Mapping[str, Sequence[_T]]]
"""An entity's records by license."""
_Pair = tuple[str, str]
"""Entity and license."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FactsIndex:
    """The facts by the keys that clauses ask for. What the methods answer does not depend on the facts' order.

    Lists are put in order when they are asked for: they are short, and most are never asked for.
    """

    texts: dict[_Pair, LicenseText]
    """By license and role of the text."""
    groups: dict[str, frozenset[str]]
    """By entity: itself, its affiliates and theirs, whichever side declared it."""
    priced: frozenset[str]
    """Entities with a tenant on a priced plan."""
    hosted: frozenset[str]
    """Entities with a tenant on this platform."""
    operator: str
    policy: LicensePolicy
    _tenants: Mapping[str, Tenant]
    _acceptances: "_Records[Acceptance]"
    _statements: "_Records[Statement]"
    _grants: dict[_Pair, list[Grant]]

    def entity_of(self, owner: str | None) -> str | None:
        """The entity of a registered model's owner; without an owner the operator's. Empty where the owner is no
        tenant, and None where it is not on record whose the model is."""
        if not owner:
            return self.operator if owner is None else None
        tenant = self._tenants.get(owner)
        return "" if tenant is None else tenant.entity

    def acceptances(self, entity: str, license_id: str) -> list[Acceptance]:
        """An entity's acceptances of a license, newest first."""
        return sorted(self._acceptances(entity).get(license_id, ()), key=_newest)

    def statement(self, entity: str, license_id: str) -> Statement | None:
        """An entity's newest statement for a license; of equally new ones the one with the most users."""
        return next(iter(self.statements(entity, license_id)), None)

    def statements(self, entity: str, license_id: str) -> list[Statement]:
        """An entity's statements for a license, newest first."""
        return sorted(self._statements(entity).get(license_id, ()), key=_newest_then_highest)

    def grants(self, entity: str, license_id: str) -> list[Grant]:
        """The grants to an entity for a license, the one that lasts longest first."""
        return sorted(self._grants.get((entity, license_id), ()), key=_longest)


def _newest(item: Acceptance) -> tuple[object, ...]:
    """A total order, whatever two acceptances differ in."""
    return (-item.at, item.id, item.state, item.role, item.canonical, item.aup, item.flow_down)


def _longest(item: Grant) -> tuple[object, ...]:
    """A total order, whatever two grants differ in."""
    return (-item.valid_to, item.id, item.valid_from, item.state, item.entity, item.models)


def _newest_then_highest(item: Statement) -> tuple[object, ...]:
    """A total order, whatever two statements differ in. `gt` comes before `le`."""
    figures = (item.value or 0, item.current or 0)
    stated = item.at if item.stated_at is None else item.stated_at
    return (-item.at, item.band, -max(figures), *(-figure for figure in figures), stated, item.id, item.affiliates)


def with_models(facts: Facts, *models: RegisteredModel) -> Facts:
    """The same facts with these models too. The tables hold none, so they are not made again."""
    index = index_of(facts)
    more = replace(facts, models={**facts.models, **{model.id: model for model in models}})
    more._derived[_KEY] = index  # noqa: SLF001 - the field exists for this module
    return more


def index_of(facts: Facts) -> FactsIndex:
    """The tables of these facts; made once and kept with them."""
    found: FactsIndex | None = facts._derived.get(_KEY)  # noqa: SLF001 - the field exists for this module
    if found is None:
        found = facts._derived.setdefault(_KEY, _build(facts))  # noqa: SLF001
    return found


def _build(facts: Facts) -> FactsIndex:
    grants: defaultdict[_Pair, list[Grant]] = defaultdict(list)
    for grant in facts.grants:
        for entity in {grant.entity, *grant.affiliates}:
            for license_id in grant.licenses:
                grants[entity, license_id].append(grant)
    return FactsIndex(
        texts=_texts(facts.texts),
        groups=_groups(facts),
        priced=frozenset(tenant.entity for tenant in facts.tenants.values() if tenant.priced),
        hosted=frozenset(tenant.entity for tenant in facts.tenants.values()),
        operator=facts.operator,
        policy=facts.policy,
        _tenants=facts.tenants,
        _acceptances=_records(facts.acceptances),
        _statements=_records(facts.statements),
        _grants=grants,
    )


def _records(items: "tuple[_T, ...] | Packed[_T]") -> "_Records[_T]":
    """Put in order for one entity when that is asked for: most never are."""
    of = items.of if isinstance(items, Packed) else _by_entity(items)

    @lru_cache(maxsize=_KEPT)
    def by_license(entity: str) -> Mapping[str, Sequence[_T]]:
        found: defaultdict[str, list[_T]] = defaultdict(list)
        for item in of(entity):
            found[item.license].append(item)
        return found

    return by_license


def _by_entity(items: tuple[_T, ...]) -> Callable[[str], Iterable[_T]]:
    found: defaultdict[str, list[_T]] = defaultdict(list)
    for item in items:
        found[item.entity].append(item)
    return lambda entity: found.get(entity, ())


def _texts(texts: tuple[LicenseText, ...]) -> dict[_Pair, LicenseText]:
    """Two texts in one place contradict each other where their words differ: then neither is known. Of the same words
    the import counts that ends the grace period first."""
    found: dict[_Pair, list[LicenseText]] = defaultdict(list)
    for text in texts:
        found[text.license, text.role].append(text)
    return {
        place: min(known, key=lambda text: (-1.0 if text.at is None else text.at, text.id, text.raw))
        for place, known in found.items()
        if len({text.canonical for text in known}) == 1
    }


def affiliate_id(name: str) -> str:
    """The id that an entity of this name would have: `Acme EU ` is the affiliate that `acme-eu` is registered as."""
    return _NO_ID.sub("-", name.casefold()).strip("-")


def _groups(facts: Facts) -> dict[str, frozenset[str]]:
    """The affiliates of an affiliate are of the group too, whoever declared whom, by id or by legal name."""
    known: dict[str, set[str]] = defaultdict(set)
    for entity in facts.entities.values():
        for name in (entity.id, entity.legal_name):
            known[affiliate_id(name)].add(entity.id)
    known.pop("", None)
    groups: dict[str, set[str]] = {}
    for entity in facts.entities.values():
        merged = {entity.id}.union(*(known.get(affiliate_id(name), {name}) for name in entity.affiliates))
        for member in tuple(merged):
            merged |= groups.get(member, set())
        for member in merged:
            groups[member] = merged
    return {entity: frozenset(members) for entity, members in groups.items() if len(members) > 1}
