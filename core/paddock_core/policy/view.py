"""A follower's copy of the policy at one revision: immutable, replaced as a whole by each batch of changes.

Readers keep a reference and need no lock; `apply` copies only the kinds that a batch touches.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, TypeVar

import msgspec

from paddock_core.licensing.types import Facts
from paddock_core.policy.documents import (
    KINDS,
    Acceptance,
    ApiKey,
    Entity,
    Grant,
    LicensePolicy,
    LicenseText,
    Namespace,
    PlatformLimits,
    Project,
    PublishedPrice,
    Purge,
    RegisteredModel,
    Statement,
    Tenant,
)
from paddock_core.policy.packed import Packed
from paddock_core.policy.wire import Change, ReceivedSnapshot, Snapshot
from paddock_core.usage.prices import PriceBook

_T = TypeVar("_T", Acceptance, Statement)
_EMPTY: Mapping[str, Any] = MappingProxyType({})

FIELDS: dict[str, str] = {
    "entity": "entities",
    "tenant": "tenants",
    "namespace": "namespaces",
    "api_key": "api_keys",
    "license_text": "license_texts",
    "acceptance": "acceptances",
    "statement": "statements",
    "grant": "grants",
    "model": "models",
    "license_policy": "license_policies",
    "platform_limits": "platform_limits",
    "project": "projects",
    "price": "prices",
    "purge": "purges",
}
"""Which attribute of the view holds a kind. A kind that is not here is a newer control plane's and is passed over."""
PACKED = ("acceptance", "statement")
"""Kinds of which there are many for each entity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyView:
    """Every policy object by kind and id, as of `revision`."""

    revision: int
    entities: Mapping[str, Entity] = field(default_factory=lambda: _EMPTY)
    tenants: Mapping[str, Tenant] = field(default_factory=lambda: _EMPTY)
    namespaces: Mapping[str, Namespace] = field(default_factory=lambda: _EMPTY)
    api_keys: Mapping[str, ApiKey] = field(default_factory=lambda: _EMPTY)
    license_texts: Mapping[str, LicenseText] = field(default_factory=lambda: _EMPTY)
    acceptances: Mapping[str, Acceptance] = field(default_factory=lambda: _EMPTY)
    statements: Mapping[str, Statement] = field(default_factory=lambda: _EMPTY)
    grants: Mapping[str, Grant] = field(default_factory=lambda: _EMPTY)
    models: Mapping[str, RegisteredModel] = field(default_factory=lambda: _EMPTY)
    license_policies: Mapping[str, LicensePolicy] = field(default_factory=lambda: _EMPTY)
    platform_limits: Mapping[str, PlatformLimits] = field(default_factory=lambda: _EMPTY)
    projects: Mapping[str, Project] = field(default_factory=lambda: _EMPTY)
    prices: Mapping[str, PublishedPrice] = field(default_factory=lambda: _EMPTY)
    purges: Mapping[str, Purge] = field(default_factory=lambda: _EMPTY)
    """Orders that are open."""
    _facts: list[Facts] = field(default_factory=list, init=False, repr=False, compare=False)
    _book: list[PriceBook] = field(default_factory=list, init=False, repr=False, compare=False)

    @classmethod
    def empty(cls) -> "PolicyView":
        """The view before anything is known: it allows nothing."""
        return cls(revision=0)

    @classmethod
    def from_snapshot(cls, snapshot: Snapshot) -> "PolicyView":
        """The view that a snapshot describes.

        Raises:
            msgspec.ValidationError: a body does not fit its kind.
        """
        kinds: dict[str, Any] = {
            FIELDS[kind]: {key: msgspec.convert(body, KINDS[kind]) for key, body in bodies.items()}
            for kind, bodies in snapshot.objects.items()
            if kind in FIELDS
        }
        return cls(revision=snapshot.revision, **kinds)

    @classmethod
    def from_received(cls, snapshot: ReceivedSnapshot) -> "PolicyView":
        """The same in little memory: acceptances and statements are packed.

        Raises:
            msgspec.ValidationError: a body does not fit its kind.
        """
        kinds: dict[str, Any] = {
            FIELDS[kind]: {key: msgspec.json.decode(body, type=KINDS[kind]) for key, body in bodies.items()}
            for kind, bodies in snapshot.objects.items()
            if kind in FIELDS and kind not in PACKED
        }
        for kind in PACKED:
            kinds[FIELDS[kind]] = Packed.from_raw(KINDS[kind], snapshot.objects.get(kind, {}).values())
        return cls(revision=snapshot.revision, **kinds)

    def apply(self, changes: Iterable[Change], *, revision: int | None = None) -> "PolicyView":
        """The view after these changes, oldest first; changes that it already holds are passed over.

        `revision` is the one the answer reports, where it is newer than the last change.

        Raises:
            msgspec.ValidationError: a body does not fit its kind.
        """
        touched: dict[str, Any] = {}
        newest = max(self.revision, revision or 0)
        for change in changes:
            if change.revision <= self.revision:
                continue
            newest = max(newest, change.revision)
            name = FIELDS.get(change.kind)
            if name is None:
                continue
            news = touched.setdefault(name, {})
            news[change.id] = None if change.body is None else msgspec.convert(change.body, KINDS[change.kind])
        if newest == self.revision:
            return self
        kinds: dict[str, Any] = {name: _changed(getattr(self, name), news) for name, news in touched.items()}
        return replace(self, revision=newest, **kinds)

    def facts(self) -> Facts:
        """What a license decision may know; made once per view."""
        if not self._facts:
            self._facts.append(self._make_facts())
        return self._facts[0]

    def price_book(self) -> PriceBook:
        """What requests cost; made once per view."""
        if not self._book:
            entries = sorted(self.prices.values(), key=lambda entry: entry.seq)
            self._book.append(PriceBook(entry.price for entry in entries))
        return self._book[0]

    def namespace_tenant(self, namespace: str) -> Tenant | None:
        """The tenant that owns a Kubernetes namespace, or None."""
        owned = self.namespaces.get(namespace)
        return None if owned is None else self.tenants.get(owned.tenant)

    def _make_facts(self) -> Facts:
        operator = next((entity.id for entity in self.entities.values() if entity.is_operator), "")
        return Facts(
            operator=operator,
            entities=dict(self.entities),
            tenants=dict(self.tenants),
            texts=tuple(self.license_texts.values()),
            acceptances=_records(self.acceptances),
            statements=_records(self.statements),
            grants=tuple(self.grants.values()),
            models=dict(self.models),
            policy=next(iter(self.license_policies.values()), LicensePolicy()),
        )


def _changed(objects: Mapping[str, Any], news: Mapping[str, Any]) -> Mapping[str, Any]:
    """The objects with these put in by id; None takes one out."""
    if isinstance(objects, Packed):
        return objects.changed(news)
    merged = {**objects, **news}
    return {name: item for name, item in merged.items() if item is not None} if None in news.values() else merged


def _records(objects: Mapping[str, _T]) -> tuple[_T, ...] | Packed[_T]:
    return objects if isinstance(objects, Packed) else tuple(objects.values())
