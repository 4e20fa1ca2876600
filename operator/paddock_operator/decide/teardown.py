"""Taking a deployment away: first the gateways stop sending, then the pods go, then what protected them."""

from collections.abc import Sequence
from dataclasses import replace

from paddock_core.resources import names
from paddock_core.resources.conditions import ConditionReason, ConditionType, Finding, fails

from paddock_operator.decide.actions import Action, Delete, RemoveFinalizer
from paddock_operator.decide.outcome import Config, Life, Outcome
from paddock_operator.decide.revisions import WORKLOADS
from paddock_operator.decide.routing import emptied, has_endpoints
from paddock_operator.kinds import CONFIG_MAP, POD, SECRET
from paddock_operator.observed import Child, Observed, label_of
from paddock_operator.times import parse_time

LOOK_AGAIN_SECONDS = 5.0


def stop(observed: Observed, config: Config, findings: tuple[Finding, ...]) -> Outcome:
    """Drain, then delete everything. `findings` say why."""
    waiting = _draining_seconds(observed, config)
    if observed.children and waiting > 0:
        text = "gateways are told to send requests elsewhere; the pods go after that"
        return replace(
            _told(observed, findings, fails(ConditionType.SERVING, ConditionReason.DRAINING, text)),
            look_after_seconds=waiting,
        )
    text = "an earlier condition keeps it from being served"
    if observed.children:
        text = "its pods and their resources are being deleted"
    serving = fails(ConditionType.SERVING, ConditionReason.NOT_SERVED, text)
    outcome = replace(_told(observed, findings, serving), routing=None, actions=removals(observed.children))
    if observed.children:
        return replace(outcome, look_after_seconds=LOOK_AGAIN_SECONDS)
    if observed.has_finalizer:
        version = str(observed.metadata["resourceVersion"])
        return replace(outcome, actions=(RemoveFinalizer(resource_version=version),))
    return outcome


def removals(children: Sequence[Child]) -> tuple[Action, ...]:
    """What is to be deleted now: what makes pods first; the network policy and the rest only once no pod is left."""
    workloads = [child for child in children if child.kind in WORKLOADS]
    pods = [child for child in children if child.kind == POD]
    if workloads or pods:
        return tuple(_delete(child) for child in workloads if not child.going)
    rest = [child for child in children if not child.going]
    # Secrets are in no cache. One is written only once there is a revision, so it goes before the revisions go.
    secrets = dict.fromkeys(_secret(child) for child in rest if child.kind == CONFIG_MAP)
    return (*secrets, *(_delete(child) for child in rest))


def _secret(child: Child) -> Delete:
    """The Secret of the deployment that a child belongs to."""
    key = {"namespace": label_of(child, names.DEPLOYMENT_NAMESPACE), "name": label_of(child, names.DEPLOYMENT_NAME)}
    return Delete(kind=SECRET, namespace=child.namespace, name=names.serving_name(**key))


def _told(observed: Observed, findings: tuple[Finding, ...], serving: Finding) -> Outcome:
    status = None if observed.deployment is None else observed.deployment.status
    routing = None if status is None or status.routing is None else emptied(status.routing)
    return Outcome(
        findings=(*findings, serving),
        routing=routing,
        replicas=sum(1 for child in observed.leaders() if not child.going),
        # Of what is remembered of its copies the records of failures go with them.
        life=Life() if status is None else replace(Life.former(status), copies=(), rollout=None),
        serving_namespace=observed.children[0].namespace if observed.children else "",
    )


def _draining_seconds(observed: Observed, config: Config) -> float:
    """How long gateways are still given, by what the status has told them and since when."""
    if observed.deployment is None:
        return 0.0
    status = observed.deployment.status
    if has_endpoints(status.routing):
        return max(config.drain_seconds, 0.01)
    serving = next((item for item in status.conditions if item.type == ConditionType.SERVING), None)
    if serving is None or serving.reason != ConditionReason.DRAINING:
        return 0.0
    return parse_time(serving.last_transition_time) + config.drain_seconds - observed.now


def _delete(child: Child) -> Delete:
    return Delete(kind=child.kind, namespace=child.namespace, name=child.name, uid=child.uid)
