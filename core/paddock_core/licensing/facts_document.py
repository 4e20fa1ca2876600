"""What a file of facts may say: its types, from which its JSON Schema (docs/facts.schema.json) is made."""

from typing import Annotated, Any, Literal

import msgspec

Moment = Annotated[
    str | float, msgspec.Meta(description="ISO 8601 date or time (UTC unless it says otherwise), or Unix seconds.")
]
Digest = Annotated[
    str, msgspec.Meta(pattern="^(sha256:)?[0-9a-f]{64}$", description="SHA-256 in hex, `sha256:` before it or not.")
]
Country = Annotated[str, msgspec.Meta(pattern="^[A-Za-z]{2}$", description="ISO 3166-1 alpha-2 code.")]
State = Literal["active", "pending_grant", "stale", "suspended", "terminated", "revoked", "superseded"]


class _Fact(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every fact: a field that is not known is refused, since a misspelt fact would be an absent one."""


class PolicyFact(_Fact, frozen=True, kw_only=True):
    """What the platform decides where the licenses leave room."""

    threshold: Literal["literal", "conservative"] = "literal"
    consumers: Literal["full", "terms_of_use"] = "full"
    grace_days: Annotated[float, msgspec.Meta(ge=0)] = 30.0


class EntityFact(_Fact, frozen=True, kw_only=True):
    """A legal person."""

    id: str
    legal_name: str = ""
    principal_place_of_business: Country | None = None
    domicile: Country | None = None
    affiliates: tuple[str, ...] = ()
    receives_integrated_product: bool = False
    is_operator: bool = False


class PlanFact(_Fact, frozen=True, kw_only=True):
    """What a tenant pays."""

    priced: bool


class TenantFact(_Fact, frozen=True, kw_only=True):
    """A customer of the platform. Without a plan it is not known to be unpriced."""

    id: str
    entity: str
    plan: PlanFact | None = None
    priced: bool | None = None


class TextFact(_Fact, frozen=True, kw_only=True):
    """An imported license: the digests of its texts' bytes, or of their canonical words."""

    license: str
    agreement: Digest | None = None
    aup: Digest | None = None
    canonical: Digest | None = None
    """Of the agreement's canonical words."""
    aup_canonical: Digest | None = None
    imported_at: Moment | None = None
    """When these words were first imported: the grace period of older acceptances begins then."""


class AcceptanceFact(_Fact, frozen=True, kw_only=True):
    """An acceptance. It counts if it is active, with the words in force, from its time on."""

    entity: str
    license: str
    role: Literal["operator", "deployer", "consumer"]
    id: str | None = None
    at: Moment | None = None
    canonical: Digest | None = None
    aup: Digest | None = None
    """Digest of the acceptable-use policy that was accepted with it."""
    state: State | None = None
    flow_down: bool = False


class StatementFact(_Fact, frozen=True, kw_only=True):
    """A statement of monthly active users for the month that the license names."""

    entity: str
    license: str
    id: str | None = None
    band: Literal["le_700m", "gt_700m"] | None = None
    value: Annotated[int, msgspec.Meta(ge=0)] | None = None
    current: Annotated[int, msgspec.Meta(ge=0)] | None = None
    at: Moment | None = None
    """When it was made; with a `current` figure and no time, it speaks of the moment of the question, but is no newer
    than another one that has a time."""
    affiliates: tuple[str, ...] = ()
    month: str | None = None
    """The month it is about, as the license names it (2024-06). About another month it states nothing."""
    method: str | None = None
    affiliates_included: bool | None = None
    """Where they are not, a statement of at most so many states nothing."""


class GrantFact(_Fact, frozen=True, kw_only=True):
    """A vendor's grant. A date as its end counts wholly."""

    entity: str
    licenses: tuple[str, ...]
    id: str | None = None
    models: tuple[str, ...] = ()
    affiliates: tuple[str, ...] = ()
    valid_from: Moment | None = None
    valid_to: Moment | None = None
    state: Literal["active", "pending_review", "withdrawn"] | None = None


class ModelFact(_Fact, frozen=True, kw_only=True):
    """A model that somebody made. Where `published` is absent it is not known to be private."""

    id: str
    base: str
    kind: Literal["fine_tune", "adapter", "merge", "quantization", "distillation"] = "fine_tune"
    public_name: str | None = None
    teachers: tuple[str, ...] = ()
    merged_with: tuple[str, ...] = ()
    """The other models whose weights went into it, for a merge."""
    published: bool | None = None
    owner: str | None = None
    """The tenant that made it. Where it is absent it is not known whose the model is."""


class Document(_Fact, frozen=True, kw_only=True):
    """The facts of a case."""

    at: Moment | None = None
    operator: str = ""
    """Id of the entity that runs the platform."""
    policy: PolicyFact = PolicyFact()
    entities: tuple[EntityFact, ...] = ()
    tenants: tuple[TenantFact, ...] = ()
    texts: tuple[TextFact, ...] = ()
    acceptances: tuple[AcceptanceFact, ...] = ()
    statements: tuple[StatementFact, ...] = ()
    grants: tuple[GrantFact, ...] = ()
    models: tuple[ModelFact, ...] = ()


def facts_schema() -> dict[str, Any]:
    """The JSON Schema of the document."""
    schema = msgspec.json.decode(msgspec.json.encode(msgspec.json.schema(Document)))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:paddock:facts:v1",
        "title": "Facts for a license decision",
        **schema,
    }
