"""How is the model cut? A plan, once rendered, stays while the wish does: nodes that come and go change nothing."""

import hashlib
import json

import msgspec
from paddock_core.catalog.types import ModelEntry
from paddock_core.licensing.registration import hidden, unserved
from paddock_core.planning.fit import plan
from paddock_core.planning.types import Ask, Inventory, Plan, Refusal
from paddock_core.resources import names
from paddock_core.resources.conditions import ConditionReason, ConditionType, Finding, fails, holds
from paddock_core.resources.llamadeployment import Spec

from paddock_operator.decide import needs
from paddock_operator.decide.outcome import Config
from paddock_operator.kinds import CONFIG_MAP
from paddock_operator.observed import Observed

PLAN = "paddock.dev/plan"
"""Annotation of the ConfigMap: the plan that it was rendered from."""
PLANNED_FOR = "paddock.dev/planned-for"
"""Annotation of the ConfigMap: digest of the wish that the plan answers."""


def ask_of(spec: Spec) -> Ask:
    """The planner's question, from the specification."""
    return Ask(
        engine=spec.engine.type,
        precision=spec.engine.precision,
        kv_precision=spec.engine.kv_precision,
        gpu=spec.placement.gpu,
        mig_profile=spec.placement.mig_profile,
        device_class=spec.placement.device_class,
        context_length=spec.engine.context_length,
        max_concurrency=spec.engine.max_concurrency,
        tensor=spec.parallelism.tensor,
        pipeline=spec.parallelism.pipeline,
    )


def wish_digest(model: ModelEntry, ask: Ask) -> str:
    """Changes exactly when the plan must be made anew."""
    question = [model.id, model.default_precision, msgspec.to_builtins(ask)]
    return hashlib.sha256(json.dumps(question, sort_keys=True).encode()).hexdigest()[:16]


def judge(observed: Observed, config: Config) -> tuple[Finding, Plan | None]:
    """The condition Planned, and the plan where there is one. It can be rendered only if the condition holds."""
    spec = observed.live.spec
    model = observed.model
    kind = ConditionType.PLANNED
    if model is None:
        return fails(kind, ConditionReason.MODEL_UNKNOWN, hidden(model=spec.model.id)), None
    lacking = unserved(model=spec.model.id, facts=observed.policy.view.facts(), entry=model)
    if lacking is not None:
        reason, text = lacking
        return fails(kind, reason, text), None
    ask = ask_of(spec)
    answer = _pinned(observed, wish_digest(model, ask)) or plan(model=model, ask=ask, inventory=observed.inventory)
    if isinstance(answer, Refusal):
        text = _with_alternatives(answer) + _left_out(observed.inventory)
        return fails(kind, answer.reason.value, text), None
    lack = needs.missing(answer, spec.placement, apis=observed.apis, config=config)
    if lack is not None:
        return lack, answer
    return holds(kind, ConditionReason.PLANNED, answer.explanation), answer


def annotations(plan_made: Plan, digest: str) -> dict[str, str]:
    """What the ConfigMap remembers of the plan."""
    return {PLAN: msgspec.json.encode(plan_made).decode(), PLANNED_FOR: digest}


def _pinned(observed: Observed, digest: str) -> Plan | None:
    name = names.serving_name(namespace=observed.key.namespace, name=observed.key.name)
    child = observed.child(CONFIG_MAP, name)
    noted = {} if child is None else child.manifest["metadata"].get("annotations") or {}
    if noted.get(PLANNED_FOR) != digest:
        return None
    try:
        return msgspec.json.decode(noted.get(PLAN, ""), type=Plan)
    except msgspec.DecodeError:
        return None


def _left_out(inventory: Inventory) -> str:
    if not inventory.left_out:
        return ""
    return (
        f". Nodes with GPUs that do not count for it: {inventory.left_out}, which spec.placement.nodeSelector does not"
        " pick, or which are tainted, cordoned or not ready"
    )


def _with_alternatives(refusal: Refusal) -> str:
    if not refusal.alternatives:
        return refusal.message
    return f"{refusal.message}; it would fit: {' or '.join(refusal.alternatives)}"
