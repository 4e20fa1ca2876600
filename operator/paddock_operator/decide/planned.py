"""How is the model cut? A plan, once rendered, stays while the wish does: nodes that come and go change nothing."""

from paddock_core.licensing.registration import hidden, unserved
from paddock_core.planning.fit import plan
from paddock_core.planning.types import Ask, Inventory, Plan, Refusal
from paddock_core.resources.conditions import ConditionReason, ConditionType, Finding, fails, holds
from paddock_core.resources.llamadeployment import PlanStatus, Spec

from paddock_operator.decide import needs
from paddock_operator.decide.outcome import Config
from paddock_operator.observed import Observed


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


def judge(observed: Observed, config: Config, *, pinned: Plan | None) -> tuple[Finding, Plan | None]:
    """The condition Planned, and the plan where there is one. It can be rendered only if the condition holds.

    `pinned` is the plan that this wish was answered with before: it stays.
    """
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
    answer = pinned or plan(model=model, ask=ask, inventory=observed.inventory)
    if isinstance(answer, Refusal):
        text = _with_alternatives(answer) + _left_out(observed.inventory)
        return fails(kind, answer.reason.value, text), None
    lack = needs.missing(answer, spec.placement, apis=observed.apis, config=config)
    if lack is not None:
        return lack, answer
    return holds(kind, ConditionReason.PLANNED, answer.explanation), answer


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


def status_of(plan: Plan) -> PlanStatus:
    """What the status says of a plan."""
    return PlanStatus(
        engine=plan.engine.value,
        tensor_parallel=plan.tensor_parallel,
        pipeline_parallel=plan.pipeline_parallel,
        gpus_per_pod=plan.gpus_per_pod,
        pods_per_group=plan.pods_per_group,
        context_length=plan.context_length,
        max_concurrency=plan.max_concurrency,
        weights_bytes=plan.weights_bytes,
        kv_cache_bytes=plan.kv_cache_bytes,
        explanation=plan.explanation,
        precision=plan.precision,
        kv_precision=plan.kv_precision,
        gpu=plan.gpu or "",
        resource=plan.resource if plan.gpus_per_pod and plan.device_class is None else "",
        device_class=plan.device_class or "",
        kv_tokens=plan.kv_tokens,
        max_sequences=plan.max_sequences,
        max_batch_size=plan.max_batch_size,
        max_num_tokens=plan.max_num_tokens,
    )
