"""The words of a license decision: who asks for what, the facts, and the answer."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

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
from paddock_core.policy.packed import Packed


class Role(StrEnum):
    OPERATOR = "operator"
    DEPLOYER = "deployer"
    CONSUMER = "consumer"
    END_USER = "end_user"


class Verb(StrEnum):
    DOWNLOAD = "download"
    DEPLOY = "deploy"
    INVOKE = "invoke"
    FINE_TUNE = "fine_tune"
    REGISTER_ADAPTER = "register_adapter"
    EXPORT = "export"
    DISTILL = "distill"
    PUBLISH = "publish"


class Reason(StrEnum):
    """Stable reasons of a denial; `Allowed` otherwise."""

    ALLOWED = "Allowed"
    MODEL_UNKNOWN = "ModelUnknown"
    LICENSE_UNKNOWN = "LicenseUnknown"
    LICENSE_MISMATCH = "LicenseMismatch"
    TEXT_NOT_IMPORTED = "TextNotImported"
    OPERATOR_NOT_LICENSED = "OperatorNotLicensed"
    ACCEPTANCE_MISSING = "AcceptanceMissing"
    ACCEPTANCE_STALE = "AcceptanceStale"
    THRESHOLD_STATEMENT_MISSING = "ThresholdStatementMissing"
    THRESHOLD_GRANT_REQUIRED = "ThresholdGrantRequired"
    GRANT_EXPIRED = "GrantExpired"
    TERRITORY_DENIED = "TerritoryDenied"
    NAME_PREFIX_REQUIRED = "NamePrefixRequired"
    PURPOSE_DENIED = "PurposeDenied"
    OUTPUT_TRAINING_DENIED = "OutputTrainingDenied"
    FLOW_DOWN_MISSING = "FlowDownMissing"
    SUSPENDED = "Suspended"
    TERMINATED = "Terminated"
    POLICY_EXPIRED = "PolicyExpired"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything a decision may know. What is absent is missing, never assumed."""

    operator: str
    """Id of the operator's entity, or empty if none is registered."""
    entities: dict[str, Entity]
    tenants: dict[str, Tenant]
    texts: tuple[LicenseText, ...] = ()
    acceptances: tuple[Acceptance, ...] | Packed[Acceptance] = ()
    statements: tuple[Statement, ...] | Packed[Statement] = ()
    grants: tuple[Grant, ...] = ()
    models: dict[str, RegisteredModel] = field(default_factory=dict)
    """Models that somebody made from models of the catalogue, by id."""
    policy: LicensePolicy = field(default_factory=LicensePolicy)
    _derived: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    """Look-up tables made from the fields above on first use (paddock_core.licensing.index)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The question. `at` is Unix time in seconds."""

    entity: str
    role: Role
    verb: Verb
    model: str
    """Catalogue id, or the id of a registered model."""
    at: float
    purpose: str = "commercial"
    public_name: str | None = None
    claimed_license: str | None = None
    """`spec.license.id`, where the tenant names one."""
    student: str | None = None
    """For `distill`: the model that the outputs are to improve."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The answer. It may be kept while no fact changes, and until `valid_until` (Unix seconds) where there is one."""

    allowed: bool
    reason: Reason
    message: str
    clauses: tuple[str, ...]
    """`<license>#<clause>` of every clause that mattered; `catalogue#model` where the model itself is not known."""
    acceptances: tuple[str, ...] = ()
    """Ids of the acceptances of the asking entity on which an allowance rests."""
    valid_until: float | None = None
    mendable: bool = True
    """False where no later act by a person can turn the denial into an allowance (purpose, territory, mismatch)."""
    warnings: tuple[str, ...] = ()
    """What holds for now and must be mended soon, or before the model is shown to others."""
