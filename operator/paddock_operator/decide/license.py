"""May this tenant's entity be served with this model? The one license decision, put for a deployment."""

from dataclasses import dataclass

import msgspec
from paddock_core.catalog.loader import Catalog
from paddock_core.catalog.types import ModelEntry
from paddock_core.licensing.kept import kept_decision
from paddock_core.licensing.lineage import resolve
from paddock_core.licensing.registration import hidden, may_deploy
from paddock_core.licensing.types import Decision, Reason, Request, Role, Verb
from paddock_core.policy.documents import Tenant
from paddock_core.policy.view import PolicyView
from paddock_core.resources.conditions import (
    ConditionReason,
    ConditionType,
    Finding,
    fails,
    holds,
    unknown,
)
from paddock_core.resources.llamadeployment import LicenseSpec, LicenseStatus, ModelSpec, Spec

from paddock_operator.observed import Observed

DIGEST_PREFIX = "sha256:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The condition LicenseAccepted, what the status says of the license, and until when (Unix seconds) it holds."""

    finding: Finding
    status: LicenseStatus | None = None
    valid_until: float | None = None
    of_wish: bool = False
    """True where it denies what is asked for now: of what serves, if that is something else, it says nothing."""


def judge(observed: Observed) -> Judgement:
    """The condition LicenseAccepted."""
    kind = ConditionType.LICENSE_ACCEPTED
    if observed.policy.expired:
        text = (
            "the control plane was not reached for longer than its policy may be trusted: what runs stays, gateways"
            " deny requests, nothing new is created; look at the control plane and the network"
        )
        return Judgement(finding=unknown(kind, ConditionReason.POLICY_EXPIRED, text))
    tenant = observed.tenant
    if tenant is None:
        namespace = observed.key.namespace
        text = (
            f"namespace {namespace} belongs to no tenant: the platform team runs"
            f" `paddock tenant namespace add TENANT {namespace}`"
        )
        return Judgement(finding=fails(kind, ConditionReason.NAMESPACE_UNKNOWN, text))
    spec = observed.live.spec
    if spec.license.accept is False:
        text = "spec.license.accept is false: remove it, or set it to true, to be served under the license"
        return Judgement(finding=fails(kind, ConditionReason.ACCEPT_DECLINED, text))
    decision = ask(spec=spec, tenant=tenant, view=observed.policy.view, catalog=observed.catalog, at=observed.policy.at)
    if not decision.allowed:
        finding = fails(kind, decision.reason.value, decision.message)
        return Judgement(finding=finding, valid_until=decision.valid_until, of_wish=True)
    return _agree_with_record(observed, spec, decision)


def ask(*, spec: Spec, tenant: Tenant, view: PolicyView, catalog: Catalog, at: float) -> Decision:
    """Whether the tenant's entity may deploy what the specification says. `at` is Unix seconds.

    A registered model that the tenant may not deploy is answered as one that is not there.
    """
    if not may_deploy(model=spec.model.id, tenant=tenant, facts=view.facts()):
        message, clauses = hidden(model=spec.model.id), ("catalogue#model",)
        return Decision(allowed=False, reason=Reason.MODEL_UNKNOWN, message=message, clauses=clauses)
    request = Request(
        entity=tenant.entity,
        role=Role.DEPLOYER,
        verb=Verb.DEPLOY,
        model=spec.model.id,
        at=at,
        purpose=spec.license.use.purpose,
        claimed_license=spec.license.id,
    )
    return kept_decision(request=request, facts=view.facts(), catalog=catalog)


def denied_former(observed: Observed, model: str) -> str | None:
    """Why pods that still run `model`, which the specification no longer asks for, may not be used; None if they may.

    A policy that is too old denies nothing here: gateways deny by it themselves.
    """
    tenant = observed.tenant
    if observed.live.spec.model.id == model or observed.policy.expired or tenant is None:
        return None
    decision = _ask_of_former(observed, model, tenant)
    return None if decision.allowed else decision.message


def of_former(observed: Observed, model: str) -> Judgement | None:
    """What served last, judged by itself while what is asked for now is denied; None where it may not serve either, or
    where it is not known on what it rests.

    It is judged without what the specification says of the license. Where that alone is another one, the model being
    the same, the record must still be the one that the status has noted: what was written may have been right once.
    """
    tenant, entry = (
        observed.tenant,
        resolve(model=model, registered=observed.policy.view.models, catalog=observed.catalog),
    )
    if observed.policy.expired or tenant is None or entry is None:
        return None
    decision = _ask_of_former(observed, model, tenant)
    judgement = _allowed(entry, decision)
    changed = observed.live.spec.model.id == model and judgement.status != observed.live.status.license
    return None if changed or not decision.allowed else judgement


def _ask_of_former(observed: Observed, model: str, tenant: Tenant) -> Decision:
    """What the specification says of the license is about the model that it asks for now; the use is that of both."""
    spec = observed.live.spec
    former = msgspec.structs.replace(spec, model=ModelSpec(id=model), license=LicenseSpec(use=spec.license.use))
    return ask(spec=former, tenant=tenant, view=observed.policy.view, catalog=observed.catalog, at=observed.policy.at)


def mismatch(spec: Spec, decision: Decision, view: PolicyView) -> str | None:
    """What spec.license says that is not on record, or None. Only meaningful where the decision allows."""
    reference, revision = spec.license.acceptance_ref, spec.license.revision
    if reference is not None and reference not in decision.acceptances:
        on_record = ", ".join(decision.acceptances) or "none"
        return f"spec.license.acceptanceRef is {reference}, on record is {on_record}: correct it or leave it out"
    if revision is None:
        return None
    canonical = [view.acceptances[item].canonical for item in decision.acceptances if item in view.acceptances]
    digits = [digest.removeprefix(DIGEST_PREFIX) for digest in canonical]
    if any(digest.startswith(revision.removeprefix(DIGEST_PREFIX)) for digest in digits):
        return None
    accepted = ", ".join(digest[:12] for digest in digits) or "none"
    return f"spec.license.revision is {revision}, accepted was {accepted}: accept that text, or correct the revision"


def _agree_with_record(observed: Observed, spec: Spec, decision: Decision) -> Judgement:
    problem = mismatch(spec, decision, observed.policy.view)
    if problem is not None:
        finding = fails(ConditionType.LICENSE_ACCEPTED, ConditionReason.RECORD_MISMATCH, problem)
        return Judgement(finding=finding, valid_until=decision.valid_until, of_wish=True)
    return _allowed(observed.model, decision)


def _allowed(model: ModelEntry | None, decision: Decision) -> Judgement:
    acceptance = next(iter(decision.acceptances), None)
    return Judgement(
        finding=holds(ConditionType.LICENSE_ACCEPTED, decision.reason.value, decision.message),
        status=None if model is None else LicenseStatus(id=", ".join(model.licenses), acceptance=acceptance),
        valid_until=decision.valid_until,
    )
