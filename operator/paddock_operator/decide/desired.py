"""The decision of a round: pure, total, and made from one look alone.

A chain of judges, each with one condition; the first that does not hold ends it. What runs is taken away only by a
denial that is certain (license, invalid specification, deletion), never because something could not be known.
"""

from collections.abc import Sequence

from msgspec.structs import replace
from paddock_core.planning.types import Plan
from paddock_core.policy.documents import Tenant
from paddock_core.resources import names
from paddock_core.resources.conditions import (
    FALSE,
    TRUE,
    ConditionReason,
    ConditionType,
    Finding,
    fails,
)
from paddock_core.resources.llamadeployment import QuotaStatus

from paddock_operator.decide import (
    accept,
    former,
    license,  # noqa: A004
    patience,
    planned,
    quota,
    revisions,
    routing,
    running,
    teardown,
    weights,
)
from paddock_operator.decide import copies as copies_of
from paddock_operator.decide.actions import AddFinalizer, Refer, StartWeights
from paddock_operator.decide.outcome import Config, Outcome
from paddock_operator.decide.prepare import (
    SECRET_ROTATION,
    Pinned,
    Prepared,
    files_go,
    kept,
    pinned,
    prepare,
    served_last,
)
from paddock_operator.decide.seen import Course, denied_models
from paddock_operator.observed import Child, Observed
from paddock_operator.reflector import owner_uid
from paddock_operator.times import parse_time

LACK_SECONDS = 30.0
"""How soon to look again whether the cluster has got what it lacks."""
LEFT_SECONDS = 15.0
"""What was deleted so long ago and is still there is told by name."""
MOST_NAMED = 5


def decide(observed: Observed, config: Config) -> Outcome:
    """What to do and what to tell."""
    if observed.deployment is None:
        wait = 1.0 if observed.children else None
        return Outcome(actions=teardown.removals(observed.children), look_after_seconds=wait)
    if observed.deleting:
        text = "the object is being deleted: its pods and their resources go first"
        gone = fails(ConditionType.ACCEPTED, ConditionReason.DELETING, text)
        return patience.within(observed, teardown.withdraw(observed, config, (gone,)))
    return patience.within(observed, _decide_live(observed, config))


def _decide_live(observed: Observed, config: Config) -> Outcome:
    accepted = accept.judge(observed)
    if accepted.status != TRUE:
        return teardown.stop(observed, config, (accepted,))
    judgement = license.judge(observed)
    found = (accepted, judgement.finding)
    left = [child for child in observed.children if owner_uid(child.manifest) != observed.uid]
    if judgement.finding.status == FALSE:
        stays = None if left or not judgement.of_wish else former.licensed(observed, config, judgement.finding)
        outcome = teardown.stop(observed, config, found) if stays is None else _stay(observed, config, accepted, stays)
    elif left:
        outcome = _without(observed, config, found, left=left)
    elif judgement.finding.status != TRUE or observed.tenant is None:
        outcome = _hold(observed, config, found)
    else:
        licensed = _decide_licensed(observed, config, found, tenant=observed.tenant)
        outcome = replace(licensed, license=judgement.status)
    if judgement.valid_until is None:
        return outcome
    return _look_within(outcome, judgement.valid_until - observed.policy.at)


def _stay(observed: Observed, config: Config, accepted: Finding, stays: former.Licensed) -> Outcome:
    """What is asked for may not be served, so nothing of it stays; what served last goes on by its own license."""
    found = (accepted, stays.finding)
    outcome = _go_on(observed, config, found, held=stays.held, prepared=stays.prepared, tenant=stays.tenant)
    outcome = replace(outcome, license=stays.own.status, plan=planned.status_of(stays.revision.facts.plan))
    if stays.own.valid_until is None:
        return outcome
    return _look_within(outcome, stays.own.valid_until - observed.policy.at)


def _without(observed: Observed, config: Config, found: tuple[Finding, ...], *, left: Sequence[Child]) -> Outcome:
    """Take away what an object of the same name has left: its names must be free before ours are created. What stays
    though it was deleted is told by name, since nobody but those who hold it can end it."""
    own = replace(observed, children=tuple(child for child in observed.children if child not in left))
    held = running.hold(own, config, found, denied={})
    staying = [child for child in left if _stays(child, observed.now)]
    if own.children:
        *others, last = held.findings
        told = replace(last, message=f"{last.message}; {_staying(staying)}") if staying else last
        held = replace(held, findings=(*others, told))
    else:
        serving = fails(ConditionType.SERVING, ConditionReason.NOT_SERVED, _staying(staying))
        held = replace(held, findings=(*found, serving) if staying else ())
    return replace(held, actions=teardown.removals(left), look_after_seconds=LEFT_SECONDS if staying else 1.0)


def _stays(child: Child, now: float) -> bool:
    since = child.manifest["metadata"].get("deletionTimestamp")
    return since is not None and now - parse_time(str(since)) > LEFT_SECONDS


def _staying(children: Sequence[Child]) -> str:
    named = [
        f"{child.kind.name} {child.namespace}/{child.name} (finalizers:"
        f" {', '.join(child.manifest['metadata'].get('finalizers') or ()) or 'none'})"
        for child in children[:MOST_NAMED]
    ]
    more = len(children) - len(named)
    text = ", ".join(named) + (f" and {more} more" if more else "")
    return (
        f"{text}: left by a former object of this name, and deleted without going. Nothing new is made before it is"
        " gone: platform team, look who should take away its finalizers, or why its pods do not end"
    )


def _decide_licensed(observed: Observed, config: Config, found: tuple[Finding, ...], *, tenant: Tenant) -> Outcome:
    model = observed.model
    held = None if model is None else pinned(observed, config, model, tenant=tenant.id)
    finding, plan = planned.judge(observed, config, pinned=None if held is None else held.plan)
    found = (*found, finding)
    if held is None:
        return _look_within(_hold(observed, config, found), LACK_SECONDS)
    if plan is None or finding.status != TRUE:
        # Nodes are heard of, but move nobody: one that waits for some looks again by itself.
        outcome = _look_after(observed, config, found, held=held, tenant=tenant)
        outcome = outcome if plan is None else replace(outcome, plan=planned.status_of(plan))
        return _look_within(outcome, LACK_SECONDS)
    charged = quota.judge(observed, tenant=tenant, plan=plan, given=config.given_gpus)
    found = (*found, charged.finding) if charged.finding is not None else found
    refused = charged.finding is not None and charged.finding.status != TRUE
    if refused and (charged.copies == 0 or _is_another(held, served_last(observed))):
        # What does not run yet needs a grant; what runs has its own.
        outcome = _look_after(observed, config, found, held=held, tenant=tenant)
        return _in_line(outcome, charged) if observed.children else _charged(outcome, charged, plan)
    prepared = prepare(observed, config, held, plan)
    found = (*found, *prepared.findings)
    outcome = _prepared(observed, config, found, held=held, prepared=prepared, charged=charged)
    return _charged(outcome, charged, plan if prepared.target is None else prepared.target.facts.plan)


def _prepared(
    observed: Observed,
    config: Config,
    found: tuple[Finding, ...],
    *,
    held: Pinned,
    prepared: Prepared,
    charged: quota.Judgement,
) -> Outcome:
    """What is done with the revision, or until there is one."""
    # Before anything is made: from then on the object cannot go without us.
    first = () if prepared.refused else _finalizer_first(observed)
    # Last what asks the control plane: while that is away, what serves is still healed.
    asking = tuple(action for action in prepared.actions if isinstance(action, StartWeights))
    others = tuple(action for action in prepared.actions if not isinstance(action, StartWeights))
    ready: Prepared | None = prepared
    if prepared.target is None:
        lost = prepared.refused or files_go(observed, held, prepared)
        ready = None if lost else kept(observed, config, held)
    if ready is None:
        outcome = _unprepared(observed, config, found, prepared=prepared)
    else:
        outcome = _run(observed, config, held=held, prepared=ready, charged=charged)
        outcome = replace(outcome, findings=(*found, *outcome.findings))
    wait = prepared.look_after_seconds or (LACK_SECONDS if prepared.target is None else None)
    outcome = replace(outcome, actions=(*first, *others, *outcome.actions, *asking), weights=prepared.progress)
    return outcome if wait is None else _look_within(outcome, wait)


def _run(observed: Observed, config: Config, *, held: Pinned, prepared: Prepared, charged: quota.Judgement) -> Outcome:
    """The copies of the revision that is to run, and what goes with them."""
    target, rendering = prepared.target, prepared.rendering
    if target is None or rendering is None:
        raise LookupError("there is no revision to run")
    namespace = names.serving_namespace(held.tenant)
    course = Course(
        target=target,
        known={**held.known, target.name: target},
        shared=revisions.shared(rendering),
        namespace=namespace,
        wish=prepared.wish or held.wish,
        quota=charged,
        rotation=SECRET_ROTATION,
        drifted=prepared.drifted,
        taken_back=prepared.taken_back,
        denied=held.denied,
        unmet=bool(prepared.wish) and prepared.wish != held.wish,
    )
    outcome = running.run(observed, config, course)
    if course.unmet:
        outcome = _of_former(outcome, target.name)
    # The namespace may have passed to another tenant: what runs among the former one's goes.
    elsewhere = [child for child in observed.children if child.namespace != namespace]
    if elsewhere:
        text = (
            f"the namespace is another tenant's now: what ran in {elsewhere[0].namespace} goes, and is not waited for"
        )
        outcome = _saying(outcome, f"{text}, so what is still being answered there is cut", statuses=(TRUE, FALSE))
    return replace(outcome, actions=(*outcome.actions, *teardown.removals(elsewhere), *_in_use(observed, course)))


def _of_former(outcome: Outcome, revision: str) -> Outcome:
    """What serves is told to be of another specification than the one that stands there."""
    text = f"by the former specification, revision {revision}: the present one waits for the conditions that are False"
    return _saying(outcome, text, statuses=(TRUE,))


def _saying(outcome: Outcome, text: str, *, statuses: Sequence[str]) -> Outcome:
    """The condition Serving says this too, where its status is one of these."""
    told = tuple(
        replace(finding, message=f"{finding.message}; {text}")
        if finding.type == ConditionType.SERVING and finding.status in statuses
        else finding
        for finding in outcome.findings
    )
    return replace(outcome, findings=told)


def _in_use(observed: Observed, course: Course) -> list[Refer]:
    """The files that are needed: those of the revision that is to run, of the one that served last, and of every other
    one that has copies."""
    having = copies_of.revisions(observed, namespace=course.namespace) | {course.target.name, served_last(observed)}
    found = {name: course.known[name].facts for name in sorted(having) if name in course.known}
    denied = denied_models(observed, {name: facts.model for name, facts in found.items()}, course.denied)
    needed = {(facts.model, facts.weights): facts for name, facts in found.items() if name not in denied}
    return [
        weights.refer(observed, facts.model, weights.Result(tokenizer=facts.tokenizer, weights=facts.weights, bytes=0))
        for facts in needed.values()
    ]


def _is_another(held: Pinned, current: str) -> bool:
    """True if the wish is answered by another revision than the one that served last."""
    return bool(current) and (held.chosen is None or held.chosen.name != current)


def _look_after(
    observed: Observed, config: Config, found: tuple[Finding, ...], *, held: Pinned, tenant: Tenant
) -> Outcome:
    """What runs goes on as it was, though the present wish cannot come true."""
    prepared = kept(observed, config, held)
    if prepared is None:
        return _hold(observed, config, found)
    return _go_on(observed, config, found, held=held, prepared=prepared, tenant=tenant)


def _go_on(
    observed: Observed, config: Config, found: tuple[Finding, ...], *, held: Pinned, prepared: Prepared, tenant: Tenant
) -> Outcome:
    """The copies of what served last, with the grant that they have."""
    if prepared.target is None:
        raise LookupError("there is no revision to run")
    charged = quota.judge(observed, tenant=tenant, plan=prepared.target.facts.plan, given=config.given_gpus)
    outcome = _run(observed, config, held=held, prepared=prepared, charged=charged)
    return replace(outcome, findings=(*found, *outcome.findings), life=replace(outcome.life, quota=charged.status))


def _unprepared(observed: Observed, config: Config, found: tuple[Finding, ...], *, prepared: Prepared) -> Outcome:
    """What runs stays while something is being made. Servers that can load no engine are taken away, unless some
    answer."""
    if prepared.refused and not any(copy.answering for copy in copies_of.of(observed)):
        return teardown.stop(observed, config, found)
    held = _hold(observed, config, found)
    if prepared.refused or not observed.children:
        return held
    return _saying(held, "before WeightsReady holds no copy that is lost is made anew", statuses=(TRUE, FALSE))


def _hold(observed: Observed, config: Config, found: tuple[Finding, ...]) -> Outcome:
    """Leave what runs as it is, create nothing, and go on telling which copies answer."""
    if not observed.children:
        text = "an earlier condition keeps it from being served"
        return Outcome(findings=(*found, fails(ConditionType.SERVING, ConditionReason.NOT_SERVED, text)))
    told = observed.live.status.routing
    models = {} if told is None else {target.revision: target.model for target in told.targets}
    denied = denied_models(observed, models)
    if denied and len(denied) == len(models):
        return _stop_former(observed, config, found, models=sorted({*models.values()}), why=sorted(denied.values())[0])
    return running.hold(observed, config, found, denied=denied)


def _stop_former(
    observed: Observed, config: Config, found: tuple[Finding, ...], *, models: list[str], why: str
) -> Outcome:
    """Take away pods of a model that is no longer asked for nor allowed, while the present one is not there yet."""
    outcome = teardown.stop(observed, config, found)
    *others, finding = outcome.findings
    text = f"{finding.message}; they run {', '.join(models)}: {why}"
    told = observed.live.status.routing
    # The routing stays, without endpoints, as long as pods may be there: it is what says which model they run.
    return replace(
        outcome,
        findings=(*others, replace(finding, message=text)),
        routing=None if told is None else routing.emptied(told),
    )


def _in_line(outcome: Outcome, refused: quota.Judgement) -> Outcome:
    """What runs keeps its grant, and what was refused stands in line for the rest."""
    if refused.status is None:
        return outcome
    own = outcome.life.quota or QuotaStatus(gpus=0, limit=refused.status.limit)
    waiting = replace(own, limit=refused.status.limit, wanted=refused.status.wanted)
    return replace(outcome, life=replace(outcome.life, quota=waiting))


def _charged(outcome: Outcome, charged: quota.Judgement, plan: Plan) -> Outcome:
    return replace(outcome, life=replace(outcome.life, quota=charged.status), plan=planned.status_of(plan))


def _finalizer_first(observed: Observed) -> tuple[AddFinalizer, ...]:
    if observed.has_finalizer:
        return ()
    return (AddFinalizer(resource_version=str(observed.metadata["resourceVersion"])),)


def _look_within(outcome: Outcome, seconds: float) -> Outcome:
    current = outcome.look_after_seconds
    soon = max(1.0, seconds)
    return replace(outcome, look_after_seconds=soon if current is None else min(current, soon))
