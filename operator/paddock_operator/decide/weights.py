"""Are the weights on the volume, checked, and is the tokenizer published?"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from paddock_core.catalog.sources import forbidden
from paddock_core.catalog.types import ModelEntry
from paddock_core.licensing.notices import notice_licenses
from paddock_core.planning.types import Plan
from paddock_core.policy.documents import Purge
from paddock_core.resources import names
from paddock_core.resources.conditions import ConditionReason, ConditionType, Finding, fails, holds
from paddock_core.resources.llamadeployment import WeightsStatus

from paddock_operator.decide import causes, failures
from paddock_operator.decide.actions import Action, Delete, RecordResult, Refer, StartWeights
from paddock_operator.kinds import JOB
from paddock_operator.observed import Observed
from paddock_operator.times import format_time, parse_time

RETRY_SECONDS = 120.0
"""How long a failed weights Job is left for people to look at before it is tried again, at least."""
MOST_RETRY_SECONDS = 86_400.0
"""A source may ask for more time; nobody waits longer than this for it."""
INTERVAL_SECONDS = 10.0
"""How soon to look again while the weights are being fetched: as often as its progress is asked for."""
GIB = 1024**3
MINUTE = 60.0

_REASONS = frozenset(
    {
        ConditionReason.WEIGHTS_MISMATCH,
        ConditionReason.WEIGHTS_CHECKSUM_MISMATCH,
        ConditionReason.WEIGHTS_VOLUME_FULL,
        ConditionReason.DOWNLOAD_DENIED,
    }
)
"""First words of what a failed Job leaves that are reasons of their own."""

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
    progress: WeightsStatus | None = None
    look_after_seconds: float | None = None


def judge(observed: Observed, model: ModelEntry, plan: Plan, *, endpoints: Iterable[str]) -> Judgement:
    """The condition WeightsReady. `endpoints` are the servers from which tenants' models may be fetched."""
    digest = names.model_digest(model, precision=plan.weights)
    job, order = observed.weights.job, ordered(observed, model.id)
    if order is not None and (order.state != "ordered" or order.why == "operator"):
        return replace(_preparing("the files are being removed, then fetched anew"), look_after_seconds=PURGE_SECONDS)
    refused = forbidden(model.weights[plan.weights].source, owner=_owner(observed, model.id), endpoints=endpoints)
    if refused is not None and (job is None or not _recorded(job)):
        finding = fails(ConditionType.WEIGHTS_READY, ConditionReason.SOURCE_NOT_ALLOWED, refused)
        return Judgement(finding=finding, actions=() if job is None else (_delete(job),))
    if job is None or "deletionTimestamp" in job["metadata"]:
        start = _start(observed, model, plan, digest)
        return _preparing("the weights Job is being started", actions=() if job else (start,))
    recorded = _recorded(job)
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
    return _running(observed, job)


def _start(observed: Observed, model: ModelEntry, plan: Plan, digest: str) -> StartWeights:
    licenses = notice_licenses(model=model.id, registered=observed.policy.view.models, catalog=observed.catalog)
    return StartWeights(
        model=model,
        precision=plan.weights,
        digest=digest,
        entity=_entity(observed),
        licenses=licenses,
        catalogued=model.id in observed.catalog.models,
        owner=_owner(observed, model.id),
    )


def _owner(observed: Observed, model: str) -> str:
    """The tenant that registered the model; empty where the platform did, or the catalogue has it."""
    registered = observed.policy.view.models.get(model)
    return "" if registered is None else registered.owner or ""


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
        text = causes.last_words(pod)
        result = _decode(text)
        if result is not None:
            place = job["metadata"]
            record = RecordResult(namespace=place["namespace"], name=place["name"], result=text)
            return _ready(result, actions=(record,))
    # The pod went before its result was read. Preparing again is cheap: the files are there and are only checked.
    return _preparing("the weights Job left no result and is started again", actions=(_delete(job),))


def _failed(observed: Observed, job: dict[str, Any]) -> Judgement:
    since = next(
        (parse_time(item["lastTransitionTime"]) for item in _conditions(job) if item["type"] == "Failed"), observed.now
    )
    words = failures.parse_last_words(causes.words_of_job(job, observed.weights.pods))
    # The pause grows with each failure in a row, which the Job counts on the volume.
    pause = min(max(words.retry_after_seconds or 0.0, RETRY_SECONDS), MOST_RETRY_SECONDS)
    place = f"{job['metadata']['namespace']}/{job['metadata']['name']}"
    again = format_time(since + pause)
    message = f"{words.text} (Job {place}; it is tried again by itself at {again}, or at once where the Job is deleted)"
    reason = words.reason if words.reason in _REASONS else ConditionReason.WEIGHTS_FAILED
    wait = since + pause - observed.now
    return Judgement(
        finding=fails(ConditionType.WEIGHTS_READY, reason, message),
        actions=(_delete(job),) if wait <= 0 else (),
        look_after_seconds=max(wait, 1.0),
    )


def _running(observed: Observed, job: dict[str, Any]) -> Judgement:
    cause = causes.root_cause(observed.weights.pods, warned=observed.warned)
    cause = cause or causes.of_events(job, warned=observed.warned)
    if cause is not None:
        # Between two tries of the Job: the container is no engine, whatever it ended of.
        if cause.reason in causes.ENDED:
            cause = replace(cause, reason=ConditionReason.WEIGHTS_FAILED)
        return Judgement(
            finding=fails(ConditionType.WEIGHTS_READY, cause.reason, cause.advised), look_after_seconds=30.0
        )
    progress = observed.weights.progress
    judgement = _preparing(f"the weights are being fetched and checked{_words(progress)}")
    return replace(judgement, progress=progress, look_after_seconds=INTERVAL_SECONDS)


def _words(progress: WeightsStatus | None) -> str:
    if progress is None or not progress.bytes_total:
        return ""
    done, total = progress.bytes_done, progress.bytes_total
    left = progress.eta_seconds
    rest = "" if left is None else f", about {f'{left / MINUTE:.0f} min' if left >= MINUTE else f'{left} s'} left"
    return f": {done / GIB:.2f} of {total / GIB:.2f} GiB ({100 * done // total} %){rest}"


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


def _recorded(job: dict[str, Any]) -> Result | None:
    """The result that was written down on the Job."""
    return _decode((job["metadata"].get("annotations") or {}).get(names.RESULT, ""))


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
