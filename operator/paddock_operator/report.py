"""The status, written only when it changed, and an Event for each transition."""

import hashlib
import logging
from typing import Any

import msgspec
from paddock_core.resources import names
from paddock_core.resources.conditions import TRUE, ConditionReason, ConditionType, is_well, merge, phase
from paddock_core.resources.llamadeployment import Condition, Status
from paddock_core.resources.reasons import of_event

from paddock_operator.condition_book import ConditionBook
from paddock_operator.decide import patience
from paddock_operator.decide.outcome import Outcome
from paddock_operator.decide.rollout.types import State
from paddock_operator.documents import Documents
from paddock_operator.errors import ClusterError, ConflictError
from paddock_operator.kinds import EVENT, LLAMA_DEPLOYMENT
from paddock_operator.observed import Observed
from paddock_operator.ports import Cluster, Manifest
from paddock_operator.pruned import PrunedFields
from paddock_operator.times import format_time

log = logging.getLogger(__name__)

DRIFTED = "Drifted"
"""The Event when what would be rendered now begins to differ from what runs."""

ON_THE_WAY = frozenset(
    {
        ConditionReason.WEIGHTS_PREPARING,
        ConditionReason.ENGINE_BUILDING,
        ConditionReason.PODS_PENDING,
        ConditionReason.LOADING,
        ConditionReason.NOT_SERVED,
        ConditionReason.NO_ENDPOINT,
        ConditionReason.GATEWAY_BEHIND,
        ConditionReason.ROLLING_OUT,
    }
)
"""Reasons of conditions that do not hold yet, or only because an earlier one does not."""


def status_of(observed: Observed, outcome: Outcome, *, gateway_url: str) -> Status:
    """The whole status after a round."""
    old = observed.live.status
    found = (*outcome.findings, *patience.judge(observed, outcome))
    conditions = merge(old=old.conditions, found=found, generation=observed.generation, now=format_time(observed.now))
    selector = names.pod_selector(namespace=observed.key.namespace, name=observed.key.name)
    if outcome.plan is not None and outcome.plan.pods_per_group > 1:
        # Autoscalers count copies by the pods that it picks, so of a group it picks one.
        selector = {**selector, names.WORKER_INDEX: names.LEADER_INDEX}
    return Status(
        observed_generation=observed.generation,
        phase=phase(conditions),
        conditions=conditions,
        license=outcome.license,
        plan=outcome.plan,
        weights=outcome.weights,
        replicas=outcome.replicas,
        ready_replicas=outcome.ready_replicas,
        groups=outcome.groups,
        ready_groups=outcome.ready_groups,
        selector=",".join(f"{label}={value}" for label, value in selector.items()),
        url=f"{gateway_url}/v1",
        served_model_name=observed.live.served_model_name,
        serving_namespace=outcome.serving_namespace,
        routing=outcome.routing,
        quota=outcome.life.quota,
        revisions=outcome.life.revisions,
        rollout=outcome.life.rollout,
        scaling=outcome.life.scaling,
        copies=outcome.life.copies,
        drifted=outcome.life.drifted,
    )


class Reporter:
    """Writes statuses and Events."""

    def __init__(self, *, cluster: Cluster, documents: Documents, gateway_url: str) -> None:
        self._cluster = cluster
        self._documents = documents
        self._gateway_url = gateway_url
        self._pruned = PrunedFields()
        self.conditions = ConditionBook()

    async def report(self, observed: Observed, outcome: Outcome) -> bool:
        """Write the status if it changed; whether it did. Raises ClusterError: ConflictError where somebody has
        changed the object since it was looked at."""
        if observed.deployment is None:
            self.conditions.forget(observed.key)
            return False
        if not outcome.findings:
            return False
        old = observed.live.status
        new = status_of(observed, outcome, gateway_url=self._gateway_url)
        self.conditions.note(observed.key, new.conditions)
        if new == old:
            return False
        metadata = {
            "namespace": observed.key.namespace,
            "name": observed.key.name,
            # A precondition: the status of a deleted object must not land on its successor, nor one that was found by
            # an old specification on a new one.
            "resourceVersion": self._documents.revision_after(
                observed.key, uid=observed.uid, seen=str(observed.metadata["resourceVersion"])
            ),
        }
        kind = {"apiVersion": LLAMA_DEPLOYMENT.api_version, "kind": LLAMA_DEPLOYMENT.name}
        document = {**kind, "metadata": metadata, "status": msgspec.to_builtins(new)}
        # Replaced, not applied: the whole status is ours alone, and that costs the API server a fifth less.
        stored = await self._cluster.replace(document, subresource="status")
        self._documents.wrote(stored)
        sent = document["status"]
        self._pruned.look(kind=LLAMA_DEPLOYMENT.name, sent=sent, stored=stored.get("status"), path="status")
        for condition in news(observed, new):
            await self._tell(observed, condition)
        return True

    async def _tell(self, observed: Observed, condition: Condition) -> None:
        """An Event is for people who look on: it may be lost, the status may not."""
        try:
            await self._cluster.create(event(observed, condition))
        except ConflictError:
            return
        except ClusterError as error:
            log.warning("event not written", extra={"key": str(observed.key), "error": str(error)})


def news(observed: Observed, new: Status) -> list[Condition]:
    """What is worth an Event now that this becomes the status: of conditions, and that a deployment begins to drift."""
    old = observed.live.status
    begins = new.drifted and not old.drifted
    return [*transitions(old.conditions, new.conditions), *([drift(observed, new)] if begins else [])]


def transitions(old: tuple[Condition, ...], new: tuple[Condition, ...]) -> list[Condition]:
    """What is worth an Event: troubles, and that one is over. What merely comes about by itself, as that it serves,
    stands in the status, and would be a dozen Events for every deployment that comes up."""
    before = {item.type: item for item in old}
    others = {item.reason for item in new if item.type != ConditionType.PROGRESSING and not is_well(item)}
    return [
        item
        for item in new
        if _is_news(item, before.get(item.type))
        # Mostly it only repeats another one.
        and not (item.type == ConditionType.PROGRESSING and (is_well(item) or item.reason in others))
    ]


def _is_news(item: Condition, former: Condition | None) -> bool:
    if former is not None and (former.status, former.reason) == (item.status, item.reason):
        return False
    if is_well(item):
        return former is not None and _is_trouble(former)
    return _is_trouble(item)


def _is_trouble(item: Condition) -> bool:
    return not is_well(item) and item.reason not in ON_THE_WAY


def drift(observed: Observed, status: Status) -> Condition:
    """What the Event says when a deployment begins to drift; no condition of its own, for nothing is wrong."""
    current = next((item for item in status.revisions if item.state == State.CURRENT), None)
    made = "" if current is None else f"revision {current.name}, by operator {current.rendered_by or '(unknown)'}: "
    row = of_event(DRIFTED)
    text = f"{made}{row.means}. What to do: {row.do}"
    return Condition(
        type=DRIFTED,
        status=TRUE,
        reason=DRIFTED,
        message=text,
        observed_generation=observed.generation,
        last_transition_time=format_time(observed.now),
    )


def event(observed: Observed, condition: Condition) -> Manifest:
    """A core/v1 Event; its name is made from what it says and when, so that saying it twice is one Event."""
    reference: dict[str, Any] = {
        "apiVersion": LLAMA_DEPLOYMENT.api_version,
        "kind": LLAMA_DEPLOYMENT.name,
        "namespace": observed.key.namespace,
        "name": observed.key.name,
        "uid": observed.uid,
    }
    return event_about(reference, condition, at=observed.now)


def event_about(reference: dict[str, Any], condition: Condition, *, at: float) -> Manifest:
    """An Event about any object. What belongs to no namespace is told in `default`, as Kubernetes asks."""
    now = format_time(at)
    text = f"{reference['uid']}/{condition.type}/{condition.status}/{condition.reason}/{now}"
    suffix = hashlib.sha256(text.encode()).hexdigest()[:16]
    place = {"namespace": reference.get("namespace", "default"), "name": f"{reference['name']}.{suffix}"}
    return {
        "apiVersion": EVENT.api_version,
        "kind": EVENT.name,
        "metadata": place,
        "involvedObject": reference,
        "type": "Normal" if is_well(condition) else "Warning",
        "reason": condition.reason,
        "message": f"{condition.type}: {condition.message}"[:1000],
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
        "source": {"component": names.OPERATOR},
    }
