"""What the webhook says of a LlamaDeployment before it is stored: a refusal, or warnings. Pure.

Refused is only what no later act can make right. What may still come true is admitted with a warning that names the
command; every check is made again in the loop, so nothing rests on the webhook.
"""

from dataclasses import dataclass, replace
from typing import Any

from paddock_core.catalog.loader import Catalog
from paddock_core.licensing.types import Decision
from paddock_core.planning.fit import complete
from paddock_core.planning.types import Refusal
from paddock_core.policy.view import PolicyView
from paddock_core.resources.conditions import ConditionReason
from paddock_core.resources.llamadeployment import LlamaDeployment, Spec

from paddock_operator.decide.license import ask, mismatch
from paddock_operator.decide.planned import ask_of
from paddock_operator.observed import parse
from paddock_operator.ports import Policy

MAX_WARNING = 240
"""The API server cuts warnings that are longer than 256 characters."""


BREAKS = (". ", "; ", ": ", ", then ")
"""Where a long warning may be broken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """The answer. `refusal` is `<reason>: <message>`, or None if the object may be stored."""

    refusal: str | None = None
    warnings: tuple[str, ...] = ()


def review(*, new: dict[str, Any], old: dict[str, Any] | None, policy: Policy, catalog: Catalog) -> Review:
    """Judge an object that is to be created, or to replace `old`."""
    if "deletionTimestamp" in new["metadata"] or (old is not None and old.get("spec") == new.get("spec")):
        # Finalizers and labels must always be changeable, whatever became of the license meanwhile.
        return Review()
    deployment, problem = parse(new)
    if problem is not None:
        return Review(refusal=f"{ConditionReason.INVALID_SPEC}: {problem}")
    answer = _review_plan(deployment, catalog) or _review_license(deployment, policy, catalog)
    return (
        answer
        if answer.refusal
        else replace(answer, warnings=(*answer.warnings, *_unknown_callers(deployment, policy)))
    )


def _unknown_callers(deployment: LlamaDeployment, policy: Policy) -> tuple[str, ...]:
    """A warning of tenants that are given access but do not exist: they may be registered later, or be misspelt."""
    unknown = [] if policy.expired else sorted(set(deployment.spec.access.tenants) - set(policy.view.tenants))
    if not unknown:
        return ()
    text = f"spec.access.tenants names {', '.join(unknown)}: no such tenant is registered; correct it, or they can call"
    return _warn(ConditionReason.TENANT_UNKNOWN, f"{text} when the platform team has registered them").warnings


def _review_plan(deployment: LlamaDeployment, catalog: Catalog) -> Review | None:
    """Refuse what no cluster could run: a tensor size that does not divide the heads, a context that is too long."""
    model = catalog.model(deployment.spec.model.id)
    answer = None if model is None else complete(model=model, ask=ask_of(deployment.spec))
    if isinstance(answer, Refusal):
        return Review(refusal=f"{answer.reason}: {answer.message}")
    return None


def _review_license(deployment: LlamaDeployment, policy: Policy, catalog: Catalog) -> Review:
    spec = deployment.spec
    if spec.license.accept is False:
        return _warn(ConditionReason.ACCEPT_DECLINED, "spec.license.accept is false: the model will not be served")
    if policy.expired:
        text = "the control plane cannot be reached now: the license is decided when it can"
        return _warn(ConditionReason.POLICY_EXPIRED, text)
    namespace = deployment.metadata["namespace"]
    tenant = policy.view.namespace_tenant(namespace)
    if tenant is None:
        text = f"namespace {namespace} belongs to no tenant: the platform team must add it to one before this is served"
        return _warn(ConditionReason.NAMESPACE_UNKNOWN, text)
    decision = ask(spec=spec, tenant=tenant, view=policy.view, catalog=catalog, at=policy.at)
    return _of_decision(decision, spec, policy.view)


def _of_decision(decision: Decision, spec: Spec, view: PolicyView) -> Review:
    if decision.allowed:
        problem = mismatch(spec, decision, view)
        return _warn(ConditionReason.RECORD_MISMATCH, problem) if problem else Review()
    if not decision.mendable:
        return Review(refusal=f"{decision.reason}: {decision.message}")
    return _warn(decision.reason.value, f"{decision.message}. Until then nothing runs")


def _warn(reason: str, message: str) -> Review:
    """One warning, in as many pieces as the API server's limit asks for; commands are kept whole where they can be."""
    pieces, rest = [], f"{reason}: {message}"
    while len(rest) > MAX_WARNING:
        end = max(rest.rfind(mark, 0, MAX_WARNING - len(mark)) + len(mark) for mark in BREAKS)
        cut = end if end > MAX_WARNING // 4 else MAX_WARNING
        pieces.append(rest[:cut].rstrip())
        rest = rest[cut:]
    return Review(warnings=(*pieces, rest))
