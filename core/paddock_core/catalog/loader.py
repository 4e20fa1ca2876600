"""From the bytes of catalogue files to a checked `Catalog`."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

import msgspec
import yaml

from paddock_core.catalog.types import Clause, LicenseEntry, ModelEntry, Restriction, Restrictions

T = TypeVar("T")


class CatalogError(ValueError):
    """A catalogue file that cannot be used; the message names the file and the place in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """Every model and license that the platform knows, by id."""

    models: Mapping[str, ModelEntry]
    licenses: Mapping[str, LicenseEntry]
    restrictions: Mapping[str, Restrictions] = field(default_factory=dict)

    def restrictions_of(self, license_id: str) -> tuple[Restriction, ...]:
        """The uses that a license forbids; empty where it forbids none, or is not known."""
        entry = self.licenses.get(license_id)
        listed = self.restrictions.get(entry.restrictions or "") if entry else None
        items = listed.items if listed else ()
        return tuple(item for item in items if not item.licenses or license_id in item.licenses)

    def model(self, model_id: str) -> ModelEntry | None:
        return self.models.get(model_id)

    def license(self, license_id: str) -> LicenseEntry | None:
        return self.licenses.get(license_id)


def load_catalog(
    *, models: Mapping[str, bytes], licenses: Mapping[str, bytes], restrictions: Mapping[str, bytes] | None = None
) -> Catalog:
    """Build the catalogue from files: name of the file (for messages) to its bytes.

    Raises CatalogError for a file that does not fit its type, an id that is there twice, or an absent license.
    """
    license_entries = _unique(_license(name, data) for name, data in sorted(licenses.items()))
    model_entries = _unique(_decode(name, data, ModelEntry) for name, data in sorted(models.items()))
    for model in model_entries.values():
        missing = [license_id for license_id in model.licenses if license_id not in license_entries]
        if missing or not model.licenses:
            raise CatalogError(f"model {model.id}: needs licenses that the catalogue has; missing: {missing or 'any'}")
        if model.default_precision not in model.weights:
            raise CatalogError(f"model {model.id}: no weights in its default precision {model.default_precision}")
    listed = _unique(_decode(name, data, Restrictions) for name, data in sorted((restrictions or {}).items()))
    for entry in license_entries.values():
        if entry.restrictions is not None and entry.restrictions not in listed:
            raise CatalogError(f"license {entry.id}: no list of restrictions {entry.restrictions}")
    return Catalog(models=model_entries, licenses=license_entries, restrictions=listed)


def _unique(entries: Any) -> dict[str, Any]:
    by_id: dict[str, Any] = {}
    for entry in entries:
        if entry.id in by_id:
            raise CatalogError(f"id {entry.id} is there twice")
        by_id[entry.id] = entry
    return by_id


def _license(name: str, data: bytes) -> LicenseEntry:
    """In the file a clause's parameters stand beside its id and type; here they are gathered in `params`."""
    document = _document(name, data)
    own = {item.name for item in fields(Clause)} - {"params"}
    document["clauses"] = [
        {key: value for key, value in clause.items() if key in own}
        | {"params": {key: value for key, value in clause.items() if key not in own}}
        for clause in document.get("clauses", [])
    ]
    return _convert(name, document, LicenseEntry)


def _decode(name: str, data: bytes, kind: type[T]) -> T:
    return _convert(name, _document(name, data), kind)


def _document(name: str, data: bytes) -> dict[str, Any]:
    try:
        document = yaml.load(data, Loader=yaml.CSafeLoader)
    except yaml.YAMLError as error:
        raise CatalogError(f"{name}: not YAML: {error}") from error
    if not isinstance(document, dict):
        raise CatalogError(f"{name}: expected a mapping")
    return document


def _convert(name: str, document: dict[str, Any], kind: type[T]) -> T:
    unknown = sorted(set(document) - {item.name for item in fields(kind)})  # type: ignore[arg-type]
    if unknown:
        raise CatalogError(f"{name}: unknown fields {unknown}")
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        raise CatalogError(f"{name}: {error}") from error
