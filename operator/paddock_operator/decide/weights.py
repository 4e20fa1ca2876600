"""Are the weights on the volume, checked, and is the tokenizer published?"""

from dataclasses import dataclass, replace
from typing import Any

import msgspec
from paddock_core.catalog.types import ModelEntry
from paddock_core.licensing.notices import notice_licenses
from paddock_core.planning.types import Plan
from paddock_core.policy.documents import Purge
from paddock_core.resources import names
from paddock_core.resources.conditions import ConditionReason, ConditionType, Finding, fails, holds

from paddock_operator.decide import failures
from paddock_operator.decide.actions import Action, Delete, RecordResult, Refer, StartWeights
from paddock_operator.kinds import JOB
from paddock_operator.observed import Observed
from paddock_operator.times import parse_time

RETRY_SECONDS = 120.0
"""How long a failed weights Job is left for people to look at before it is tried again."""

_REASONS = {"WeightsMismatch": ConditionReason.WEIGHTS_MISMATCH}
"""First word of what a failed Job leaves, where it has a reason of its own."""

PURGE_SECONDS = 2.0
"""How soon to look again while the model's files are being removed."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What the weights container leaves: digests of the tokenizer document and of the weights, and their size."""

    tokenizer: str
    weights: str
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The condition WeightsReady, the result once there is one, and what is to be done until then."""

    finding: Finding
    result: Result | None = None
    actions: tuple[Action, ...] = ()
    look_after_seconds: float | None = None


def judge(observed: Observed, model: ModelEntry, plan: Plan) -> Judgement:
    """The condition WeightsReady."""
    digest = names.model_digest(model, precision=plan.precision)
    job, order = observed.weights.job, ordered(observed, model.id)
    if order is not None and (order.state != "ordered" or order.why == "operator"):
        return replace(_preparing("the files are being removed, then fetched anew"), look_after_seconds=PURGE_SECONDS)
    if job is None or "deletionTimestamp" in job["metadata"]:
        start = _start(observed, model, plan, digest)
        return _preparing("the weights Job is being started", actions=() if job else (start,))
    recorded = _decode((job["metadata"].get("annotations") or {}).get(names.RESULT, ""))
    if recorded is not None and order is not None:
        needed = refer(observed, model.id, recorded, urgent=True)
        asking = _preparing("the removal of the files is ordered: the control plane is told that they are needed")
        return replace(asking, actions=(needed,), look_after_seconds=PURGE_SECONDS)
    if recorded is not None:
        return _ready(recorded)
    state = _condition(job)
    if state == "Complete":
        return _finished(observed, job)
    if state == "Failed":
        return _failed(observed, job)
    return _running(observed)


def _start(observed: Observed, model: ModelEntry, plan: Plan, digest: str) -> StartWeights:
    licenses = notice_licenses(model=model.id, registered=observed.policy.view.models, catalog=observed.catalog)
    return StartWeights(
        model=model,
        precision=plan.precision,
        digest=digest,
        entity=_entity(observed),
        licenses=licenses,
        catalogued=model.id in observed.catalog.models,
    )


def ordered(observed: Observed, model: str) -> Purge | None:
    """The open order to remove the model's files, or None."""
    return next((item for item in observed.policy.view.purges.values() if item.model == model), None)


def refer(observed: Observed, model: str, result: Result, *, urgent: bool = False) -> Refer:
    """What the control plane is told of files in use."""
    return Refer(
        entity=_entity(observed), model=model, weights=result.weights, tokenizer=result.tokenizer, urgent=urgent
    )


def _entity(observed: Observed) -> str:
    return "" if observed.tenant is None else observed.tenant.entity


def _finished(observed: Observed, job: dict[str, Any]) -> Judgement:
    for pod in observed.weights.pods:
        text = failures.last_words(pod)
        result = _decode(text)
        if result is not None:
            place = job["metadata"]
            record = RecordResult(namespace=place["namespace"], name=place["name"], result=text)
            return _ready(result, actions=(record,))
    # The pod went before its result was read. Preparing again is cheap: the files are there and are only checked.
    return _preparing("the weights Job left no result and is started again", actions=(_delete(job),))


def _failed(observed: Observed, job: dict[str, Any]) -> Judgement:
    words = [text for pod in observed.weights.pods if (text := failures.last_words(pod))]
    since = next(
        (parse_time(item["lastTransitionTime"]) for item in _conditions(job) if item["type"] == "Failed"), observed.now
    )
    wait = since + RETRY_SECONDS - observed.now
    place = f"{job['metadata']['namespace']}/{job['metadata']['name']}"
    last = words[-1] if words else "it left no message"
    message = f"{last} (Job {place}; it is tried again by itself)"
    reason = _REASONS.get(last.partition(":")[0], ConditionReason.WEIGHTS_FAILED)
    return Judgement(
        finding=fails(ConditionType.WEIGHTS_READY, reason, message),
        actions=(_delete(job),) if wait <= 0 else (),
        look_after_seconds=max(wait, 1.0),
    )


def _running(observed: Observed) -> Judgement:
    trouble = failures.classify(observed.weights.pods)
    if trouble is not None:
        return Judgement(
            finding=fails(ConditionType.WEIGHTS_READY, trouble.reason, trouble.message), look_after_seconds=30.0
        )
    return _preparing("the weights are being fetched and checked")


def _ready(result: Result, *, actions: tuple[Action, ...] = ()) -> Judgement:
    text = (
        f"{result.bytes} bytes of weights are there and checked; the tokenizer is published as {result.tokenizer[:19]}"
    )
    return Judgement(
        finding=holds(ConditionType.WEIGHTS_READY, ConditionReason.WEIGHTS_PREPARED, text),
        result=result,
        actions=actions,
    )


def _preparing(message: str, *, actions: tuple[Action, ...] = ()) -> Judgement:
    finding = fails(ConditionType.WEIGHTS_READY, ConditionReason.WEIGHTS_PREPARING, message)
    return Judgement(finding=finding, actions=actions, look_after_seconds=30.0)


def _decode(text: str) -> Result | None:
    try:
        return msgspec.json.decode(text, type=Result)
    except msgspec.DecodeError:
        return None


def _conditions(job: dict[str, Any]) -> list[dict[str, Any]]:
    conditions: list[dict[str, Any]] = job.get("status", {}).get("conditions") or []
    return conditions


def _condition(job: dict[str, Any]) -> str:
    """Complete, Failed or nothing."""
    held = {item["type"] for item in _conditions(job) if item.get("status") == "True"}
    return next((word for word in ("Complete", "Failed") if word in held), "")


def _delete(job: dict[str, Any]) -> Delete:
    place = job["metadata"]
    return Delete(kind=JOB, namespace=place["namespace"], name=place["name"], uid=place["uid"])
