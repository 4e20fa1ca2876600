"""The decision of a round: pure, total, and made from one look alone.

A chain of judges, each with one condition; the first that does not hold ends it. What runs is taken away only by a
denial that is certain (license, invalid specification, deletion), never because something could not be known.
"""

from dataclasses import replace

from paddock_core.catalog.types import ModelEntry
from paddock_core.planning.types import Plan
from paddock_core.resources import names
from paddock_core.resources.conditions import (
    FALSE,
    TRUE,
    ConditionReason,
    ConditionType,
    Finding,
    fails,
)
from paddock_core.resources.llamadeployment import PlanStatus, RoutingStatus
from paddock_core.serving.contract import deployment_secret

from paddock_operator.decide import accept, engine, images, license, planned, serving, teardown, weights, workloads  # noqa: A004
from paddock_operator.decide.actions import AddFinalizer
from paddock_operator.decide.outcome import Config, Outcome
from paddock_operator.manifests.group_keys import seed
from paddock_operator.manifests.render import Rendering, render_serving
from paddock_operator.manifests.serving_pods import restart_digest
from paddock_operator.observed import Child, Observed
from paddock_operator.reflector import owner_uid

SECRET_ROTATION = 0
LACK_SECONDS = 30.0
"""How soon to look again whether the cluster has got what it lacks."""


def decide(observed: Observed, config: Config) -> Outcome:
    """What to do and what to tell."""
    if observed.deployment is None:
        return Outcome(actions=teardown.removals(observed.children), look_after_seconds=_again(observed.children))
    if observed.deleting:
        text = "the object is being deleted: its pods and their resources go first"
        gone = fails(ConditionType.ACCEPTED, ConditionReason.DELETING, text)
        return teardown.stop(observed, config, (gone,))
    stale = [child for child in observed.children if owner_uid(child.manifest) != observed.uid]
    if stale:
        # Left over from an object of the same name: its names must be free before ours are created.
        return Outcome(actions=teardown.removals(stale), look_after_seconds=1.0)
    return _decide_live(observed, config)


def _decide_live(observed: Observed, config: Config) -> Outcome:
    accepted = accept.judge(observed)
    if accepted.status != TRUE:
        return teardown.stop(observed, config, (accepted,))
    judgement = license.judge(observed)
    found = (accepted, judgement.finding)
    if judgement.finding.status == FALSE:
        outcome = teardown.stop(observed, config, found)
    elif judgement.finding.status != TRUE or observed.tenant is None:
        outcome = _hold(observed, config, found)
    else:
        licensed = _decide_licensed(observed, config, found, tenant=observed.tenant.id)
        outcome = replace(licensed, license=judgement.status)
    if judgement.valid_until is None:
        return outcome
    return _look_within(outcome, judgement.valid_until - observed.policy.at)


def _decide_licensed(observed: Observed, config: Config, found: tuple[Finding, ...], *, tenant: str) -> Outcome:
    finding, plan = planned.judge(observed, config)
    found, model = (*found, finding), observed.model
    if plan is None or model is None:
        # Nodes are heard of, but move nobody: one that waits for some looks again by itself.
        return _look_within(_hold(observed, config, found), LACK_SECONDS)
    if finding.status != TRUE:
        return _look_within(replace(_hold(observed, config, found), plan=_plan_status(plan)), LACK_SECONDS)
    prepared = weights.judge(observed, model, plan, endpoints=config.source_endpoints)
    found = (*found, prepared.finding)
    if prepared.result is None:
        held = _hold(observed, config, found)
        outcome = replace(
            held,
            actions=(*_finalizer_first(observed), *prepared.actions, *held.actions),
            plan=_plan_status(plan),
            weights=prepared.progress,
        )
        return _look_within(outcome, prepared.look_after_seconds or 30.0)
    pictured = images.judge(config, plan.engine)
    if pictured is not None:
        found = (*found, pictured)
    if pictured is not None and pictured.status != TRUE:
        return replace(_hold(observed, config, found), actions=prepared.actions, plan=_plan_status(plan))
    compiled = engine.judge(observed, config, model, plan, weights=prepared.result.weights)
    if compiled.finding is not None:
        found = (*found, compiled.finding)
    if not compiled.ready:
        return _without_engine(observed, config, found, plan=plan, prepared=prepared, compiled=compiled)
    rendering = _rendering(observed, config, model, plan, prepared.result, tenant=tenant, compiled=compiled.key)
    outcome = _serve(observed, config, rendering, prepared.result.tokenizer)
    # The namespace may have passed to another tenant: what runs among the former one's goes.
    used = weights.refer(observed, model.id, prepared.result)
    elsewhere = [child for child in observed.children if child.namespace != names.serving_namespace(tenant)]
    return replace(
        outcome,
        findings=(*found, *outcome.findings),
        actions=(
            *_finalizer_first(observed),
            *prepared.actions,
            *compiled.actions,
            *outcome.actions,
            *teardown.removals(elsewhere),
            used,
        ),
    )


def _without_engine(
    observed: Observed,
    config: Config,
    found: tuple[Finding, ...],
    *,
    plan: Plan,
    prepared: weights.Judgement,
    compiled: engine.Judgement,
) -> Outcome:
    """What runs stays while an engine is being made. Servers that can load none are taken away, unless some answer."""
    made = (*prepared.actions, *compiled.actions)
    if compiled.refused and not any(serving.answers(observed, pod) for pod in observed.leaders()):
        stopped = teardown.stop(observed, config, found)
        outcome = replace(stopped, actions=(*made, *stopped.actions), plan=_plan_status(plan))
    else:
        held = _hold(observed, config, found)
        actions = (*_finalizer_first(observed), *made, *held.actions)
        outcome = replace(held, actions=actions, plan=_plan_status(plan))
    return _look_within(outcome, compiled.look_after_seconds or 30.0)


def _rendering(
    observed: Observed,
    config: Config,
    model: ModelEntry,
    plan: Plan,
    result: weights.Result,
    *,
    tenant: str,
    compiled: str | None,
) -> Rendering:
    return Rendering(
        key=observed.key,
        uid=observed.uid,
        tenant=tenant,
        spec=observed.live.spec,
        model=model,
        plan=plan,
        weights=result.weights,
        secret=deployment_secret(
            platform_key=config.platform_key, deployment_uid=observed.uid, rotation=SECRET_ROTATION
        ),
        config=config,
        compiled=compiled,
        group_seed=seed(platform_key=config.platform_key, deployment_uid=observed.uid, rotation=SECRET_ROTATION),
        apis=observed.apis,
    )


def _serve(observed: Observed, config: Config, rendering: Rendering, tokenizer: str) -> Outcome:
    spec, plan = observed.live.spec, rendering.plan
    manifests = render_serving(rendering)
    new = RoutingStatus(
        model=spec.model.id,
        tokenizer=tokenizer,
        context_length=plan.context_length,
        max_concurrency=plan.max_concurrency,
        secret_rotation=SECRET_ROTATION,
        rendering=restart_digest(rendering),
    )
    former = observed.live.status.routing
    if former is not None and license.denied_former(observed, former.model) is not None:
        former = None
    routing = serving.settle(observed, new=new, former=former)
    state = serving.judge(
        observed,
        rendering=routing.rendering,
        current=new.rendering,
        wanted=spec.replicas,
        pods_per_copy=plan.pods_per_group,
        gpu=plan.resource,
        probe_interval_seconds=config.probe_interval_seconds,
    )
    return Outcome(
        actions=workloads.actions(observed, manifests, settled=routing.rendering == new.rendering),
        findings=state.findings,
        plan=_plan_status(plan),
        routing=serving.with_endpoints(routing, state.endpoints),
        replicas=state.replicas,
        ready_replicas=len(state.endpoints),
        groups=state.groups,
        ready_groups=state.ready_groups,
        rolling=state.rolling,
        serving_namespace=rendering.namespace,
        look_after_seconds=state.look_after_seconds,
    )


def _hold(observed: Observed, config: Config, found: tuple[Finding, ...]) -> Outcome:
    """Leave what runs as it is, create nothing, and go on telling which pods answer."""
    status = observed.live.status
    if not observed.children:
        text = "an earlier condition keeps it from being served"
        return Outcome(findings=(*found, fails(ConditionType.SERVING, ConditionReason.NOT_SERVED, text)))
    routing = status.routing
    denied = None if routing is None else license.denied_former(observed, routing.model)
    if routing is not None and denied is not None:
        return _stop_former(observed, config, found, routing=routing, why=denied)
    state = serving.judge(
        observed,
        rendering="" if routing is None else routing.rendering,
        wanted=observed.live.spec.replicas,
        pods_per_copy=1 if status.plan is None else status.plan.pods_per_group,
        gpu="" if status.plan is None else status.plan.resource,
        probe_interval_seconds=config.probe_interval_seconds,
    )
    return Outcome(
        findings=(*found, *state.findings),
        license=status.license,
        plan=status.plan,
        routing=None if routing is None else serving.with_endpoints(routing, state.endpoints),
        replicas=state.replicas,
        ready_replicas=len(state.endpoints),
        groups=state.groups,
        ready_groups=state.ready_groups,
        serving_namespace=status.serving_namespace,
        look_after_seconds=state.look_after_seconds,
    )


def _stop_former(
    observed: Observed, config: Config, found: tuple[Finding, ...], *, routing: RoutingStatus, why: str
) -> Outcome:
    """Take away pods of a model that is no longer asked for nor allowed, while the present one is not there yet."""
    outcome = teardown.stop(observed, config, found)
    *others, finding = outcome.findings
    text = f"{finding.message}; they run {routing.model}: {why}"
    # The routing stays, without endpoints, as long as pods may be there: it is what says which model they run.
    return replace(
        outcome, findings=(*others, replace(finding, message=text)), routing=serving.with_endpoints(routing, ())
    )


def _finalizer_first(observed: Observed) -> tuple[AddFinalizer, ...]:
    if observed.has_finalizer:
        return ()
    return (AddFinalizer(resource_version=str(observed.metadata["resourceVersion"])),)


def _look_within(outcome: Outcome, seconds: float) -> Outcome:
    current = outcome.look_after_seconds
    soon = max(1.0, seconds)
    return replace(outcome, look_after_seconds=soon if current is None else min(current, soon))


def _again(children: tuple[Child, ...]) -> float | None:
    return 1.0 if children else None


def _plan_status(plan: Plan) -> PlanStatus:
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
