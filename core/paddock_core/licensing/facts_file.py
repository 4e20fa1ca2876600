"""A file of facts: the cases that people exchange, evaluated with no server.

`read_facts` takes the parsed document (YAML or JSON) and answers the same `Facts` that a gateway has. An absent fact is
missing, never assumed: an acceptance without a state is not active, a tenant without a plan is not known to be free.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import msgspec

from paddock_core.catalog.loader import Catalog
from paddock_core.licensing.facts_document import (
    AcceptanceFact,
    Document,
    EntityFact,
    GrantFact,
    ModelFact,
    StatementFact,
    TenantFact,
    TextFact,
)
from paddock_core.licensing.types import Facts
from paddock_core.policy.documents import (
    Acceptance,
    Entity,
    Grant,
    LicensePolicy,
    LicenseText,
    RegisteredModel,
    Statement,
    Tenant,
)

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_NEVER = float("inf")
_NOT_STATED = "not_stated"
_AT_MOST = "le_700m"
_COUNTING = "scale_threshold"


class FactsError(ValueError):
    """A document that cannot be read as facts; the message names the place in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FactsFile:
    """The facts, and the moment of the question in Unix seconds."""

    facts: Facts
    at: float


def read_facts(document: Any, *, catalog: Catalog, now: float, at: float | None = None) -> FactsFile:
    """The facts of a parsed document. The question is asked at `at`, else at the file's moment, else `now`.

    Raises:
        FactsError: a field is unknown or of another type, an id is there twice, a moment cannot be read, two texts
            of one license contradict each other.
    """
    try:
        read = msgspec.convert(_plain(document), Document)
    except msgspec.ValidationError as error:
        raise FactsError(str(error)) from error
    asked = at if at is not None else now if read.at is None else moment(read.at)
    entities = _unique("entities", (_entity(item, read.operator) for item in read.entities))
    operators = sorted(item.id for item in read.entities if item.is_operator)
    if len(operators) > 1 or (operators and read.operator and operators != [read.operator]):
        raise FactsError(f"more than one operator is named: {', '.join(sorted({*operators, read.operator}))}")
    facts = Facts(
        operator=read.operator or (operators[0] if operators else ""),
        entities=entities,
        tenants=_unique("tenants", (_tenant(item) for item in read.tenants)),
        texts=_agreeing([text for item in read.texts for text in _texts(item, catalog)]),
        acceptances=tuple(_acceptance(item, catalog) for item in read.acceptances),
        statements=_statements(read.statements, catalog, asked),
        grants=tuple(_grant(item) for item in read.grants),
        models=_unique("models", (_model(item, catalog) for item in read.models)),
        policy=LicensePolicy(**msgspec.structs.asdict(read.policy)),
    )
    return FactsFile(facts=facts, at=asked)


def moment(value: str | float, *, end_of_day: bool = False) -> float:
    """Unix seconds of a moment. A date is its first instant, or with `end_of_day` the instant after its last one.

    Raises:
        FactsError: it is neither a date, nor a time, nor a number.
    """
    if not isinstance(value, str):
        return float(value)
    try:
        if _DATE.fullmatch(value):
            day = datetime.combine(date.fromisoformat(value), time(), UTC)
            return (day + timedelta(days=1 if end_of_day else 0)).timestamp()
        found = datetime.fromisoformat(value)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError) as error:
        raise FactsError(f"{value!r} is no moment: write 2026-11-22 or 2026-11-22T10:00:00Z") from error


def _plain(value: Any) -> Any:
    """YAML makes dates and times of what looks like one; here they are text, as in JSON."""
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value


def _unique(kind: str, items: Iterable[Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in items:
        if item.id in found:
            raise FactsError(f"{kind}: id {item.id} is there twice")
        found[item.id] = item
    return found


def _entity(item: EntityFact, operator: str) -> Entity:
    return Entity(
        id=item.id,
        legal_name=item.legal_name or item.id,
        principal_place_of_business=(item.principal_place_of_business or "").upper(),
        domicile=(item.domicile or "").upper(),
        affiliates=item.affiliates,
        receives_integrated_product=item.receives_integrated_product,
        is_operator=item.is_operator or item.id == operator,
    )


def _tenant(item: TenantFact) -> Tenant:
    known = item.plan.priced if item.plan is not None else item.priced
    return Tenant(id=item.id, entity=item.entity, priced=True if known is None else known)


def _hex(digest: str | None) -> str:
    return (digest or "").removeprefix("sha256:")


def _canonical(catalog: Catalog, license_id: str, role: str, digest: str | None) -> str:
    """The canonical digest that belongs to a digest: of bytes that the catalogue knows, else the digest itself."""
    entry = catalog.license(license_id)
    pin = entry.text(role) if entry else None
    known = pin is not None and _hex(digest) in pin.raw
    return f"sha256:{pin.canonical if pin and known else _hex(digest)}" if digest else ""


def _texts(item: TextFact, catalog: Catalog) -> list[LicenseText]:
    given = {"agreement": (item.agreement, item.canonical), "aup": (item.aup, item.aup_canonical)}
    return [
        LicenseText(
            id=f"{item.license}:{role}",
            license=item.license,
            role=role,
            raw=f"sha256:{_hex(raw)}",
            canonical=_canonical(catalog, item.license, role, canonical or raw),
            at=None if item.imported_at is None else moment(item.imported_at),
        )
        for role, (raw, canonical) in given.items()
        if raw or canonical
    ]


def _agreeing(texts: list[LicenseText]) -> tuple[LicenseText, ...]:
    known: dict[str, LicenseText] = {}
    for text in texts:
        other = known.setdefault(text.id, text)
        if (other.canonical, other.at) != (text.canonical, text.at):
            role = "agreement" if text.role == "agreement" else "acceptable-use policy"
            raise FactsError(f"texts: the {role} of {text.license} is there twice, with other words or times: keep one")
    return tuple(texts)


def _acceptance(item: AcceptanceFact, catalog: Catalog) -> Acceptance:
    """What ends an acceptance counts without a time, what makes it stand does not."""
    timed = item.at is not None or item.state not in ("active", "pending_grant")
    return Acceptance(
        id=item.id or f"{item.entity}/{item.license}/{item.role}/{item.at or 'no-time'}",
        entity=item.entity,
        license=item.license,
        role=item.role,
        canonical=_canonical(catalog, item.license, "agreement", item.canonical),
        at=0.0 if item.at is None else moment(item.at),
        state=item.state if item.state is not None and timed else _NOT_STATED,
        flow_down=item.flow_down,
        aup=_canonical(catalog, item.license, "aup", item.aup),
    )


def _statements(items: tuple[StatementFact, ...], catalog: Catalog, asked: float) -> tuple[Statement, ...]:
    """A statement without a time speaks of the moment of the question, but is no newer than one that has a time."""
    timed: dict[tuple[str, str], float] = {}
    for item in items:
        if item.at is not None:
            key = (item.entity, item.license)
            timed[key] = max(moment(item.at), timed.get(key, 0.0))
    return tuple(_statement(item, catalog, timed.get((item.entity, item.license), asked)) for item in items)


def _statement(item: StatementFact, catalog: Catalog, newest: float) -> Statement:
    made = 0.0 if item.at is None else moment(item.at)
    meant = item.month in (None, *_windows(catalog, item.license))
    whole = item.affiliates_included is not False or item.band != _AT_MOST
    return Statement(
        id=item.id or f"{item.entity}/{item.license}/{item.band}/{item.value}/{item.current}",
        entity=item.entity,
        license=item.license,
        band=item.band if item.band and meant and whole else _NOT_STATED,
        at=newest if item.at is None and item.current is not None else made,
        value=item.value if meant else None,
        current=item.current,
        affiliates=item.affiliates,
    )


def _windows(catalog: Catalog, license_id: str) -> list[str | None]:
    """The months in which the license counts users."""
    entry = catalog.license(license_id)
    return [clause.params.get("window") for clause in entry.clauses if clause.type == _COUNTING] if entry else []


def _grant(item: GrantFact) -> Grant:
    return Grant(
        id=item.id or f"{item.entity}/{'+'.join(item.licenses)}/{item.valid_from}/{item.valid_to}",
        entity=item.entity,
        licenses=item.licenses,
        models=item.models,
        affiliates=item.affiliates,
        valid_from=_NEVER if item.valid_from is None else moment(item.valid_from),
        valid_to=0.0 if item.valid_to is None else moment(item.valid_to, end_of_day=True),
        state=item.state or _NOT_STATED,
    )


def _model(item: ModelFact, catalog: Catalog) -> RegisteredModel:
    if item.id in catalog.models:
        raise FactsError(f"models: {item.id} is a model of the catalogue: register yours under another id")
    return RegisteredModel(**{**msgspec.structs.asdict(item), "owner": item.owner or ""})
