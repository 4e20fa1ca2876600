"""What a model's licenses want to be told with every answer, from the catalogue."""

from collections.abc import Mapping

from paddock_core.catalog.loader import Catalog
from paddock_core.catalog.types import Clause
from paddock_core.licensing.lineage import LineageError, sources, trace
from paddock_core.policy.documents import RegisteredModel

_MATERIALS = ("materials",)
_SHOWING = ("display", "notice_file")


def response_notices(*, model: str, registered: Mapping[str, RegisteredModel], catalog: Catalog) -> tuple[str, ...]:
    """Texts of `display` clauses that say `responses: true`, of the model's licenses and, where the clause follows
    outputs, of those of its teachers. None where the model is not known."""
    try:
        lineage = trace(model=model, registered=registered, catalog=catalog)
    except LineageError:
        return ()
    found = [
        str(clause.params["text"])
        for source, names in sources(lineage)
        for name in names
        if name in catalog.licenses
        for clause in catalog.licenses[name].clauses
        if _told(clause, source)
    ]
    return tuple(dict.fromkeys(found))


def notice_licenses(*, model: str, registered: Mapping[str, RegisteredModel], catalog: Catalog) -> tuple[str, ...]:
    """Ids of the licenses whose texts go with a model: its own, and those of its teachers that ask, by a notice or
    something to be displayed, for what was made with outputs too. None where the model is not known."""
    try:
        lineage = trace(model=model, registered=registered, catalog=catalog)
    except LineageError:
        return ()
    found = [
        name
        for source, names in sources(lineage)
        for name in names
        if source == _MATERIALS[0] or any(asks_to_show(clause, source) for clause in _clauses(catalog, name))
    ]
    return tuple(dict.fromkeys(found))


def asks_to_show(clause: Clause, source: str) -> bool:
    """True if a clause asks for a notice or a display for what is made of `source`: `materials` or `outputs`."""
    return clause.type in _SHOWING and source in clause.params.get("inputs", _MATERIALS)


def _clauses(catalog: Catalog, license_id: str) -> tuple[Clause, ...]:
    entry = catalog.licenses.get(license_id)
    return () if entry is None else entry.clauses


def _told(clause: Clause, source: str) -> bool:
    told = clause.type == "display" and clause.params.get("responses") is True
    return told and source in clause.params.get("inputs", _MATERIALS)
