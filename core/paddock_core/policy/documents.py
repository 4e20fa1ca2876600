"""The bodies of policy objects: what the control plane tells gateways and the operator.

One frozen dataclass a kind. FastAPI and msgspec both encode standard dataclasses, so these travel unchanged
from a database row to a gateway. `KINDS` maps the kind written in `policy_log` to its type.
"""

from dataclasses import dataclass, field

from paddock_core.catalog.types import WeightSet
from paddock_core.usage.prices import Price


@dataclass(frozen=True, slots=True, kw_only=True)
class Entity:
    """A legal person: the unit that accepts licenses. Several tenants may belong to one."""

    id: str
    legal_name: str
    principal_place_of_business: str
    """ISO 3166-1 alpha-2 country code."""
    affiliates: tuple[str, ...] = ()
    receives_integrated_product: bool = False
    is_operator: bool = False
    """True for exactly one entity: the one that runs this platform."""
    domicile: str = ""
    """ISO 3166-1 alpha-2 code of the domicile, where it is another country than the principal place of business."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What may be used. None means that this level sets no limit of that kind."""

    requests_per_minute: int | None = None
    input_tokens_per_minute: int | None = None
    output_tokens_per_minute: int | None = None
    concurrent_requests: int | None = None
    max_output_tokens: int | None = None
    """Cap on the output of a single request, in tokens."""
    max_context_tokens: int | None = None
    """Cap on prompt and answer of a single request together, in tokens."""
    tokens_per_day: int | None = None
    """Tokens of prompts and answers in a day of UTC."""
    tokens_per_month: int | None = None
    """Tokens of prompts and answers in a calendar month of UTC."""
    money_per_month_nano: int | None = None
    """Price of a calendar month of UTC, in nano-units (10^-9) of the price book's currency."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformLimits:
    """What all tenants together may use. There is one, with the id `platform`."""

    id: str = "platform"
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A part of a tenant with limits of its own; API keys may belong to one. The id is `<tenant>/<name>`."""

    id: str
    tenant: str
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """A customer of the platform: owns namespaces, deployments and API keys."""

    id: str
    entity: str
    priced: bool = False
    limits: Limits = field(default_factory=Limits)
    end_user_limits: Limits = field(default_factory=Limits)
    """What each end user may use whom the tenant's requests name."""
    end_user_groups: tuple[str, ...] = ()
    """Groups of end users that reports tell apart; a request that names another counts as `other`."""
    gpus: int | None = None
    """GPUs that its deployments may be charged together; None: as many as the platform gives everybody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespace:
    """A Kubernetes namespace in which a tenant may create LlamaDeployments. The id is the namespace's name."""

    id: str
    tenant: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key of a tenant. `secret_sha256` is the hex digest of its secret part; the key itself is never stored."""

    id: str
    tenant: str
    secret_sha256: str
    expires_at: float | None = None
    """Unix time in seconds."""
    models: tuple[str, ...] = ()
    """Served model names that the key may call; empty means every one its tenant may call."""
    limits: Limits = field(default_factory=Limits)
    project: str = ""
    """Name of the tenant's project that it belongs to; empty for none."""
    scopes: tuple[str, ...] = ()
    """What it may do, of `paddock_core.keys.SCOPES`; empty means everything."""
    previous_sha256: str = ""
    """Hex digest of the secret that it had before its last rotation; empty for none."""
    previous_until: float = 0.0
    """Until when that secret still opens it, Unix seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LicenseText:
    """An imported license text: the id is `<license>:<role>`, role is agreement or aup."""

    id: str
    license: str
    role: str
    raw: str
    """`sha256:<hex>` of the file's bytes, as imported."""
    canonical: str
    """`sha256:<hex>` of the canonical words."""
    at: float | None = None
    """When these words were first imported, Unix seconds: the grace period of older acceptances begins then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """One entity's acceptance of one license in one role."""

    id: str
    entity: str
    license: str
    role: str
    """operator, deployer or consumer."""
    canonical: str
    """Canonical digest of the agreement that was accepted."""
    at: float
    state: str = "active"
    """active, pending_grant, stale, suspended, terminated, revoked or superseded."""
    flow_down: bool = False
    """True if the entity also promised to pass the acceptable-use terms on."""
    aup: str = ""
    """Canonical digest of the acceptable-use policy that was accepted with it; empty where that is not recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A signed statement of monthly active users, for the month that the license names."""

    id: str
    entity: str
    license: str
    band: str
    """le_700m or gt_700m."""
    at: float
    value: int | None = None
    """The users of the month that the license names, where a figure was given."""
    current: int | None = None
    """The users at the time of the statement. It counts only where the platform asks for more than the words do."""
    affiliates: tuple[str, ...] = ()
    """Affiliates in the month that the license names, where they were others than now."""
    stated_at: float | None = None
    """When the signatory stated what this one corrects: a correction is no younger. None: it corrects nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A vendor's grant to an entity above the threshold. Only two reviewers make it active."""

    id: str
    entity: str
    licenses: tuple[str, ...]
    models: tuple[str, ...]
    """Catalogue ids; empty means every model of these licenses."""
    valid_from: float
    valid_to: float
    """Unix seconds, exclusive."""
    state: str = "active"
    """active, pending_review or withdrawn."""
    affiliates: tuple[str, ...] = ()
    """Other entities that the grant names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredModel:
    """A model that somebody made: a fine-tune, an adapter, a student. It inherits its base's licenses and duties."""

    id: str
    base: str
    """Catalogue id, or the id of another registered model."""
    kind: str = "fine_tune"
    """One of paddock_core.licensing.kinds.MODEL_KINDS."""
    public_name: str | None = None
    teachers: tuple[str, ...] = ()
    """Models whose outputs it was trained on."""
    merged_with: tuple[str, ...] = ()
    """The other models whose weights went into it beside its base's."""
    published: bool | None = None
    """True where others than its owner get to see it, and may deploy it; None where that is not recorded."""
    owner: str | None = None
    """The tenant that registered it; None: the platform did, and every tenant may deploy it; empty: not recorded."""
    precision: str = ""
    """Of its weights."""
    weights: WeightSet | None = None
    """Its own checkpoint, in the catalogue's terms; None where it was registered without."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Purge:
    """An order to remove every copy of a model's files, because no license holds them any more."""

    id: str
    model: str
    state: str
    """ordered: whoever is licensed and still needs the files may say so. started: they are being removed."""
    why: str
    """last_reference: nobody licensed needs them. operator: the platform's own license ended."""
    weights: tuple[str, ...] = ()
    """Digests under which weights of the model are known to lie on the volume."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LicensePolicy:
    """What the platform decides where the licenses leave room. The defaults are the words of the licenses."""

    id: str = "platform"
    threshold: str = "literal"
    """literal: users are counted in the month that the license names. conservative: users of today count too, and
    statements are made again every year."""
    consumers: str = "full"
    """full: an entity that only consumes also states its users. terms_of_use: it promises the terms of use alone."""
    grace_days: float = 30.0
    """How long acceptances of older words still hold after newer ones were imported."""
    admission: str = "warn"
    """warn: what may still come true is stored with a warning that says what is lacking. deny: it is not stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedPrice:
    """One entry of the price book, for gateways whose tenants have limits of money. The id is the price's."""

    id: str
    seq: int
    """Its place in the book; of two entries for the same scope and moment the later one holds."""
    price: Price


KINDS: dict[str, type] = {
    "entity": Entity,
    "tenant": Tenant,
    "namespace": Namespace,
    "api_key": ApiKey,
    "license_text": LicenseText,
    "acceptance": Acceptance,
    "statement": Statement,
    "grant": Grant,
    "model": RegisteredModel,
    "license_policy": LicensePolicy,
    "platform_limits": PlatformLimits,
    "project": Project,
    "price": PublishedPrice,
    "purge": Purge,
}
