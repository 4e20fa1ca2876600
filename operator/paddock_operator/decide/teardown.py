"""Taking a deployment away: first the gateways stop sending, then the pods go, then what protected them."""

from collections.abc import Sequence

from msgspec.structs import replace
from paddock_core.resources import names
from paddock_core.resources.conditions import FALSE, ConditionReason, ConditionType, Finding, fails

from paddock_operator.decide import copies as copies_of
from paddock_operator.decide import drains, license, lingering  # noqa: A004
from paddock_operator.decide.actions import Action, Delete, RecordResult, RemoveFinalizer
from paddock_operator.decide.causes import Cause
from paddock_operator.decide.copies import Copy
from paddock_operator.decide.draining import Drain
from paddock_operator.decide.outcome import Config, Life, Outcome
from paddock_operator.decide.revisions import WORKLOADS
from paddock_operator.decide.routing import emptied
from paddock_operator.kinds import CONFIG_MAP, POD, SECRET
from paddock_operator.observed import Child, Observed, label_of
from paddock_operator.times import format_time

LOOK_AGAIN_SECONDS = 5.0
MOST_NAMED = 3
"""Copies of which is told what they wait for."""


def withdraw(observed: Observed, config: Config, findings: tuple[Finding, ...]) -> Outcome:
    """Take away what its owner has deleted: requests that are under way come to their end first, as in a rollout. Where
    a model may no longer be used, nothing but the drain is waited for."""
    return _stop(observed, config, findings, finishes=not _is_denied(observed))


def stop(observed: Observed, config: Config, findings: tuple[Finding, ...]) -> Outcome:
    """Drain, then delete everything: gateways have the time to hear of it, requests that are under way are not waited
    for. `findings` say why."""
    return _stop(observed, config, findings, finishes=False)


def _stop(observed: Observed, config: Config, findings: tuple[Finding, ...], *, finishes: bool) -> Outcome:
    ending = _ending(observed, config, finishes=finishes)
    if ending:
        return _draining(observed, findings, ending)
    outcome = replace(_told(observed, findings, _gone(observed)), routing=None, actions=removals(observed.children))
    if observed.children:
        return replace(outcome, look_after_seconds=LOOK_AGAIN_SECONDS)
    if observed.has_finalizer:
        version = str(observed.metadata["resourceVersion"])
        return replace(outcome, actions=(RemoveFinalizer(resource_version=version),))
    return outcome


def _gone(observed: Observed) -> Finding:
    """The condition Serving while nothing serves any more. What does not go is told by name: pods alone, as long as
    there are any, since the rest waits for them."""
    kind, late = ConditionType.SERVING, [child for child in observed.children if lingering.is_late(child, observed.now)]
    if late:
        stuck = [child for child in late if child.kind == POD] or late
        text = f"its pods and their resources are being deleted, and not all of them go: {lingering.told(stuck)}"
        return fails(kind, ConditionReason.PODS_STUCK, Cause(reason=ConditionReason.PODS_STUCK, message=text).advised)
    if observed.children:
        return fails(kind, ConditionReason.NOT_SERVED, "its pods and their resources are being deleted")
    return fails(kind, ConditionReason.NOT_SERVED, "an earlier condition keeps it from being served")


def removals(children: Sequence[Child]) -> tuple[Action, ...]:
    """What is to be deleted now: what makes pods first, and pods that nothing has made; the network policy and the rest
    only once no pod is left."""
    workloads = [child for child in children if child.kind in WORKLOADS]
    pods = [child for child in children if child.kind == POD]
    if workloads or pods:
        going = [child for child in workloads if not child.going]
        return tuple(_delete(child) for child in (*going, *lingering.orphans(children)))
    rest = [child for child in children if not child.going]
    # Secrets are in no cache. One is written only once there is a revision, so it goes before the revisions go.
    secrets = dict.fromkeys(_secret(child) for child in rest if child.kind == CONFIG_MAP)
    return (*secrets, *(_delete(child) for child in rest))


def _secret(child: Child) -> Delete:
    """The Secret of the deployment that a child belongs to."""
    key = {"namespace": label_of(child, names.DEPLOYMENT_NAMESPACE), "name": label_of(child, names.DEPLOYMENT_NAME)}
    return Delete(kind=SECRET, namespace=child.namespace, name=names.serving_name(**key))


def _told(observed: Observed, findings: tuple[Finding, ...], serving: Finding, leaving: Sequence[Copy] = ()) -> Outcome:
    status = None if observed.deployment is None else observed.deployment.status
    routing = None if status is None or status.routing is None else emptied(status.routing, leaving=leaving)
    return Outcome(
        findings=(*findings, serving),
        routing=routing,
        replicas=sum(1 for child in observed.leaders() if not child.going),
        # Of what is remembered of its copies the records of failures go with them.
        life=Life() if status is None else replace(Life.former(status), copies=(), rollout=None),
        serving_namespace=observed.children[0].namespace if observed.children else "",
    )


def _ending(observed: Observed, config: Config, *, finishes: bool) -> list[tuple[Copy, Drain]]:
    """The copies that may still have requests, and what is waited for. When a drain began is noted on the copy itself:
    neither a condition that was false before nor another leader changes it."""
    if observed.deployment is None:
        return []
    told = observed.deployment.status.routing
    known = set() if told is None else {end.url for target in told.targets for end in target.endpoints}
    leaving = set() if told is None else set(told.leaving)
    found = []
    for copy in copies_of.of(observed):
        if copy.going or not (copy.draining or copy.url in known | leaving):
            continue
        if not copy.draining or copy.url in known:
            drain = Drain(over=False, note="gateways are about to be told", look_after_seconds=config.drain_seconds)
        elif finishes:
            drain = drains.judge(observed, config, copy)
        else:
            drain = drains.of_told(observed, config, copy)
        found.append((copy, drain))
    return [] if all(drain.over for _, drain in found) else found


def _draining(observed: Observed, findings: tuple[Finding, ...], ending: Sequence[tuple[Copy, Drain]]) -> Outcome:
    """Each copy goes when its own requests are done; what they share stays for the last one."""
    left = [(copy, drain) for copy, drain in ending if not drain.over]
    text = "gateways are told to send requests elsewhere; the pods go after that"
    notes = [f"copy {copy.name}: {drain.note}" for copy, drain in left if drain.note]
    serving = fails(ConditionType.SERVING, ConditionReason.DRAINING, "; ".join([text, *notes[:MOST_NAMED]]))
    stays = {copy.name for copy, _ in left}
    gone = [copy.workload for copy in copies_of.of(observed) if copy.name not in stays]
    waits = [drain.look_after_seconds for _, drain in left if drain.look_after_seconds is not None]
    return replace(
        _told(observed, findings, serving, leaving=[copy for copy, _ in left]),
        actions=(
            *(_mark(observed, copy.workload) for copy, _ in left if copy.workload is not None and not copy.draining),
            *(_delete(workload) for workload in gone if workload is not None and not workload.going),
        ),
        look_after_seconds=max(min(waits, default=LOOK_AGAIN_SECONDS), 0.01),
    )


def _mark(observed: Observed, workload: Child) -> RecordResult:
    return RecordResult(
        namespace=workload.namespace,
        name=workload.name,
        result=format_time(observed.now),
        annotation=names.DRAINING,
        kind=workload.kind,
    )


def _is_denied(observed: Observed) -> bool:
    """True if a model that may be running is no longer licensed to its owner."""
    told = observed.live.status.routing
    models = {observed.live.spec.model.id, *(target.model for target in (told.targets if told else ()))}
    present = observed.problem is None and license.judge(observed).finding.status == FALSE
    return present or any(license.denied_former(observed, model) is not None for model in models)


def _delete(child: Child) -> Delete:
    return Delete(kind=child.kind, namespace=child.namespace, name=child.name, uid=child.uid)
