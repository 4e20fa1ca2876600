"""The decision of a round about a LlamaModel: pure. The control plane, which registers it, judges again."""

from dataclasses import dataclass
from enum import Enum, auto

from paddock_core.licensing.index import with_models
from paddock_core.licensing.lineage import LineageError, trace
from paddock_core.licensing.registration import RegistrationError, judge, unserved
from paddock_core.licensing.types import Decision
from paddock_core.policy.documents import RegisteredModel
from paddock_core.resources.conditions import (
    ConditionReason,
    Finding,
    ModelConditionType,
    fails,
    holds,
    unknown,
)

from paddock_operator.models.observed import ObservedModel

LOOK_AGAIN_SECONDS = 600.0
"""A missed event is mended after this time."""
IN_USE_SECONDS = 5.0
_SHOWN = 5
REGISTERED = holds(ModelConditionType.REGISTERED, ConditionReason.REGISTERED, "it can be deployed by whoever may")


class Step(Enum):
    """What a round may do, in this order."""

    ADD_FINALIZER = auto()
    PUT = auto()
    DROP = auto()
    REMOVE_FINALIZER = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOutcome:
    """What to do, what to tell, and when to look again."""

    steps: tuple[Step, ...] = ()
    findings: tuple[Finding, ...] = ()
    licenses: tuple[str, ...] = ()
    look_after_seconds: float | None = LOOK_AGAIN_SECONDS


def decide(observed: ObservedModel) -> ModelOutcome:
    """What to do and what to tell."""
    if observed.deleting:
        return _delete(observed)
    kind = ModelConditionType.REGISTERED
    if observed.problem is not None:
        text = f"{observed.problem}; correct the specification"
        return ModelOutcome(findings=(fails(kind, ConditionReason.INVALID_SPEC, text),))
    wanted = observed.model.registered()
    known = observed.policy.view.models.get(wanted.id)
    if observed.policy.expired:
        text = "the control plane was not reached for longer than its policy may be trusted"
        return ModelOutcome(
            findings=(unknown(ModelConditionType.LICENSE_ACCEPTED, ConditionReason.POLICY_EXPIRED, text),
                      unknown(kind, ConditionReason.POLICY_EXPIRED, text))
        )  # fmt: skip
    facts = observed.policy.view.facts()
    try:
        decision = judge(model=wanted, facts=facts, catalog=observed.catalog, at=observed.policy.at)
    except RegistrationError as error:
        return ModelOutcome(findings=(fails(kind, error.code, _standing(str(error), known)),))
    return _judged(observed, wanted, known, decision)


def _judged(
    observed: ObservedModel, wanted: RegisteredModel, known: RegisteredModel | None, decision: Decision
) -> ModelOutcome:
    licensed = _licensed(decision)
    if known == wanted:
        steps: tuple[Step, ...] = ()
        registered = REGISTERED
    elif decision.allowed:
        steps = (Step.PUT,)
        registered = fails(ModelConditionType.REGISTERED, ConditionReason.REGISTERING, "the control plane is asked")
    else:
        text = _standing(f"{decision.message}. Until then it is not registered", known)
        return ModelOutcome(
            findings=(licensed, fails(ModelConditionType.REGISTERED, decision.reason.value, text)),
            licenses=_licenses(observed, wanted),
            look_after_seconds=_within(observed, decision),
        )
    return ModelOutcome(
        steps=(*((Step.ADD_FINALIZER,) if not observed.has_finalizer else ()), *steps),
        findings=(licensed, registered, _servable(observed, wanted)),
        licenses=_licenses(observed, wanted),
        look_after_seconds=_within(observed, decision),
    )


def _delete(observed: ObservedModel) -> ModelOutcome:
    if not observed.has_finalizer:
        return ModelOutcome(look_after_seconds=None)
    if not observed.users:
        return ModelOutcome(steps=(Step.DROP, Step.REMOVE_FINALIZER), look_after_seconds=None)
    more = len(observed.users) - _SHOWN
    names = ", ".join(observed.users[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
    text = f"it is being deleted, and goes when no LlamaDeployment asks for it or runs it: {names}"
    finding = holds(ModelConditionType.REGISTERED, ConditionReason.IN_USE, text)
    return ModelOutcome(findings=(finding,), licenses=observed.model.status.licenses, look_after_seconds=IN_USE_SECONDS)


def _licensed(decision: Decision) -> Finding:
    kind = ModelConditionType.LICENSE_ACCEPTED
    if not decision.allowed:
        return fails(kind, decision.reason.value, decision.message)
    return holds(kind, decision.reason.value, "; ".join((decision.message, *decision.warnings)))


def _servable(observed: ObservedModel, wanted: RegisteredModel) -> Finding:
    facts = with_models(observed.policy.view.facts(), wanted)
    entry = trace(model=wanted.id, registered=facts.models, catalog=observed.catalog).model
    lacking = unserved(model=wanted.id, facts=facts, entry=entry)
    if lacking is not None:
        return fails(ModelConditionType.SERVABLE, *lacking)
    text = f"{entry.default_engine} loads its {entry.default_precision} weights"
    return holds(ModelConditionType.SERVABLE, ConditionReason.SERVABLE, text)


def _licenses(observed: ObservedModel, wanted: RegisteredModel) -> tuple[str, ...]:
    try:
        models = with_models(observed.policy.view.facts(), wanted).models
        lineage = trace(model=wanted.id, registered=models, catalog=observed.catalog)
    except LineageError:
        return ()
    return tuple(dict.fromkeys((*lineage.licenses, *lineage.output_licenses)))


def _standing(text: str, known: RegisteredModel | None) -> str:
    return text if known is None else f"{text}. What was registered before stands, as {known.public_name or known.id}"


def _within(observed: ObservedModel, decision: Decision) -> float:
    if decision.valid_until is None:
        return LOOK_AGAIN_SECONDS
    return min(LOOK_AGAIN_SECONDS, max(1.0, decision.valid_until - observed.policy.at))
