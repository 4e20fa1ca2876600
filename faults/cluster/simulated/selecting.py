"""Label and field selectors as they stand in a URL."""

import re
from typing import Any

from paddock_operator.ports import Manifest

_IN = re.compile(r"^(?P<key>\S+) (?P<not>not)?in \((?P<values>[^)]*)\)$")


def picks(manifest: Manifest, selector: str) -> bool:
    """Whether a label selector picks an object. Raises ValueError for one that is not understood."""
    labels = manifest["metadata"].get("labels") or {}
    return all(_term(labels, term.strip()) for term in re.split(r",(?![^(]*\))", selector) if term.strip())


def has(manifest: Manifest, fields: str) -> bool:
    """Whether a field selector picks an object: `a.b=c,d=e`."""
    for term in filter(None, fields.split(",")):
        path, found, value = term.partition("=")
        if not found:
            raise ValueError(f"field selector {fields!r} is not understood")
        if str(_at(manifest, path) or "") != value.removeprefix("="):
            return False
    return True


def _term(labels: dict[str, str], term: str) -> bool:
    if found := _IN.match(term):
        values = {value.strip() for value in found["values"].split(",")}
        return (labels.get(found["key"]) in values) != bool(found["not"])
    if "!=" in term:
        key, _, value = term.partition("!=")
        return labels.get(key) != value
    if "=" in term:
        key, _, value = term.partition("=")
        return labels.get(key) == value.removeprefix("=")
    if not re.fullmatch(r"!?[\w./-]+", term):
        raise ValueError(f"label selector {term!r} is not understood")
    return term[1:] not in labels if term.startswith("!") else term in labels


def _at(document: Any, path: str) -> Any:
    for name in path.split("."):
        document = document.get(name) if isinstance(document, dict) else None
    return document
