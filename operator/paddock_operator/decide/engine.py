"""Is the compiled engine there, and can the servers load it? Only for the engine that needs one."""

from dataclasses import dataclass, replace
from typing import Any, TypeVar

import msgspec
from paddock_core.catalog.images import image_for
from paddock_core.catalog.types import ModelEntry
from paddock_core.engines.errors import EngineRequestError
from paddock_core.engines.marker import INCOMPATIBLE
from paddock_core.engines.recipe import Recipe, recipe
from paddock_core.engines.request import EngineRequest
from paddock_core.planning.gpus import gpu_table
from paddock_core.planning.types import Engine, Gpu, Plan
from paddock_core.resources import names
from paddock_core.resources.conditions import ConditionReason, ConditionType, Finding, fails, holds

from paddock_operator.decide import causes
from paddock_operator.decide.actions import Action, Delete, RecordResult, in_turn
from paddock_operator.decide.engine_size import size_of
from paddock_operator.decide.images import image_of
from paddock_operator.decide.outcome import Config
from paddock_operator.kinds import JOB
from paddock_operator.manifests.render import EngineRendering, render_engine
from paddock_operator.observed import EngineJob, Observed
from paddock_operator.times import parse_time

T = TypeVar("T")

RETRY_SECONDS = 600.0
"""How long a failed engine Job is left for people to look at before it is tried again."""
REFUSED_SECONDS = 1800.0
"""How long an engine that no server could load is left before it is made anew."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What the container of an engine Job leaves."""

    engine: str
    bytes: int


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """What is noted on the Job of an engine that a server could not load."""

    at: float
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The condition EngineReady, the engine's key once it can be served, and what is to be done until then."""

    finding: Finding | None = None
    ready: bool = False
    key: str | None = None
    refused: bool = False
    """True where servers have said that they cannot load it: they are taken away instead of started again."""
    actions: tuple[Action, ...] = ()
    look_after_seconds: float | None = None


def judge(observed: Observed, config: Config, model: ModelEntry, plan: Plan, *, weights: str) -> Judgement:
    """The condition EngineReady. `weights` is the digest under which the weights lie."""
    if plan.engine is not Engine.TENSORRT_ENGINE:
        return Judgement(ready=True)
    try:
        request = request_of(observed, config, model, plan, weights=weights)
        made = recipe(request)
    except EngineRequestError as error:
        return Judgement(finding=_fails(ConditionReason.ENGINE_UNSUPPORTED, str(error)))
    key = made.engine_key
    found = next((item for item in observed.engines if item.name == names.engine_job_name(key)), None)
    if found is None:
        return _started(observed, config, model, plan, request=request, made=made)
    if "deletionTimestamp" in found.job["metadata"]:
        return _building("the former engine Job is going")
    return _refused(observed, found) or _of_job(observed, found, key, resource=plan.resource)


def _started(
    observed: Observed, config: Config, model: ModelEntry, plan: Plan, *, request: EngineRequest, made: Recipe
) -> Judgement:
    """Start the Job, where a node could hold it."""
    try:
        size = size_of(model, plan, quantizes=made.quantizes, inventory=observed.inventory)
    except EngineRequestError as error:
        return Judgement(finding=_fails(ConditionReason.ENGINE_UNSUPPORTED, str(error)))
    rendering = EngineRendering(
        model=model,
        plan=plan,
        request=request,
        digest=names.model_digest(model, precision=plan.weights),
        key=made.engine_key,
        size=size,
        placement=observed.live.spec.placement,
        config=config,
    )
    return _building("the engine Job is being started", actions=in_turn(render_engine(rendering)))


def request_of(observed: Observed, config: Config, model: ModelEntry, plan: Plan, *, weights: str) -> EngineRequest:
    """All that the engine depends on. Raises EngineRequestError where none can be compiled."""
    image, gpu = image_for(plan.engine, config.images), _gpu(observed, plan)
    if image is None or gpu is None:
        raise EngineRequestError(f"no image compiles engines for {plan.gpu}: choose the engine {Engine.LLMAPI.value}")
    if plan.pods_per_group > 1 or plan.device_class is not None:
        raise EngineRequestError(
            "an engine is compiled and verified in one pod, on GPUs that are counted as a resource: choose GPUs on "
            f"which a copy fits one node, and no device class; or {Engine.LLMAPI.value}, which compiles nothing"
        )
    return EngineRequest(
        weights=weights,
        architecture=model.architecture,
        checkpoint_precision=plan.weights,
        precision=plan.precision,
        kv_precision=plan.kv_precision,
        tensor_parallel=plan.tensor_parallel,
        pipeline_parallel=plan.pipeline_parallel,
        image=image_of(config, plan.engine),
        tensorrt_llm=image.tensorrt_llm,
        tensorrt=image.tensorrt,
        # A part of a GPU is another device than the whole.
        gpu=f"{gpu.id} {plan.resource}",
        gpu_memory=plan.per_gpu.total,
        compute_capability=gpu.compute_capability,
        max_batch_size=plan.max_batch_size,
        max_num_tokens=plan.max_num_tokens,
        max_input_len=plan.context_length,
        max_seq_len=plan.context_length,
    )


def _gpu(observed: Observed, plan: Plan) -> Gpu | None:
    known = {pool.gpu.id: pool.gpu for pool in observed.inventory.pools}
    return known.get(plan.gpu or "") or gpu_table().get(plan.gpu or "")


def _refused(observed: Observed, found: EngineJob) -> Judgement | None:
    """Set where a server that was started after the engine was made could not load it."""
    noted = _decode((found.job["metadata"].get("annotations") or {}).get(names.REFUSED, ""), Refusal)
    place = found.job["metadata"]
    if noted is None:
        words = _words_of_servers(observed, since=_completed(found.job))
        if words is None:
            return None
        noted = Refusal(at=observed.now, words=words)
        text = msgspec.json.encode(noted).decode()
        note = RecordResult(namespace=place["namespace"], name=place["name"], result=text, annotation=names.REFUSED)
        return _incompatible(noted, actions=(note,), wait=REFUSED_SECONDS)
    wait = noted.at + REFUSED_SECONDS - observed.now
    return _incompatible(noted, actions=(_delete(found),) if wait <= 0 else (), wait=wait)


def _words_of_servers(observed: Observed, *, since: float | None) -> str | None:
    if since is None:
        return None
    for pod in observed.pods():
        words = causes.last_words(pod.manifest)
        started = parse_time(pod.manifest["metadata"]["creationTimestamp"])
        if words.startswith(INCOMPATIBLE) and started >= since:
            return words
    return None


def _incompatible(noted: Refusal, *, actions: tuple[Action, ...], wait: float) -> Judgement:
    text = (
        f"{noted.words}. The pods are taken away; the engine is made anew after a while, or at once where its image is "
        "pinned anew, the specification changes, or the engine Job is deleted"
    )
    return Judgement(
        finding=_fails(ConditionReason.ENGINE_INCOMPATIBLE, text),
        refused=True,
        actions=actions,
        look_after_seconds=max(wait, 1.0),
    )


def _of_job(observed: Observed, found: EngineJob, key: str, *, resource: str) -> Judgement:
    recorded = _decode((found.job["metadata"].get("annotations") or {}).get(names.RESULT, ""), Result)
    if recorded is not None:
        return _ready(recorded, key)
    state = _held(found.job)
    if "Complete" in state:
        return _finished(found, key)
    if "Failed" in state:
        return _failed(observed, found, since=state["Failed"])
    cause = causes.root_cause(found.pods, gpu=resource, warned=observed.warned)
    cause = cause or causes.of_events(found.job, warned=observed.warned)
    if cause is not None:
        # Between two tries of the Job a container that ended is what it is everywhere else: a build that failed.
        if cause.reason in causes.ENDED:
            cause = replace(cause, reason=ConditionReason.BUILD_FAILED)
        return Judgement(finding=_fails(cause.reason, cause.advised), look_after_seconds=30.0)
    if (found.job.get("spec") or {}).get("suspend"):
        text = f"the Job waits for its queue, of which {names.WEIGHTS_NAMESPACE} must have one of the same name"
        return _building(f"{text}; its controller says more in the Job's events")
    return _building("the engine is being compiled and verified; the weights' size decides how long that takes")


def _finished(found: EngineJob, key: str) -> Judgement:
    for pod in found.pods:
        text = causes.last_words(pod)
        result = _decode(text, Result)
        if result is not None:
            place = found.job["metadata"]
            record = RecordResult(namespace=place["namespace"], name=place["name"], result=text)
            return _ready(result, key, actions=(record,))
    # The pod went before its result was read. Making it again is cheap: the engine is there and is only checked.
    return _building("the engine Job left no result and is started again", actions=(_delete(found),))


def _failed(observed: Observed, found: EngineJob, *, since: float) -> Judgement:
    words = causes.words_of_job(found.job, found.pods)
    wait = since + RETRY_SECONDS - observed.now
    place = f"{found.job['metadata']['namespace']}/{found.name}"
    fits = not words.startswith(INCOMPATIBLE)
    reason = ConditionReason.BUILD_FAILED if fits else ConditionReason.ENGINE_INCOMPATIBLE
    return Judgement(
        finding=_fails(reason, f"{words} (Job {place}; it is tried again by itself, or at once where it is deleted)"),
        actions=(_delete(found),) if wait <= 0 else (),
        look_after_seconds=max(wait, 1.0),
    )


def _ready(result: Result, key: str, *, actions: tuple[Action, ...] = ()) -> Judgement:
    text = f"the engine {key[:12]} was compiled and verified: {result.bytes} bytes"
    finding = holds(ConditionType.ENGINE_READY, ConditionReason.ENGINE_READY, text)
    return Judgement(finding=finding, ready=True, key=key, actions=actions)


def _building(message: str, *, actions: tuple[Action, ...] = ()) -> Judgement:
    return Judgement(finding=_fails(ConditionReason.ENGINE_BUILDING, message), actions=actions, look_after_seconds=30.0)


def _fails(reason: str, message: str) -> Finding:
    return fails(ConditionType.ENGINE_READY, reason, message)


def _held(job: dict[str, Any]) -> dict[str, float]:
    """Conditions of the Job that hold, and since when."""
    conditions = job.get("status", {}).get("conditions") or ()
    return {
        str(item["type"]): parse_time(item["lastTransitionTime"]) for item in conditions if item["status"] == "True"
    }


def _completed(job: dict[str, Any]) -> float | None:
    return _held(job).get("Complete")


def _delete(found: EngineJob) -> Delete:
    place = found.job["metadata"]
    return Delete(kind=JOB, namespace=place["namespace"], name=place["name"], uid=place["uid"])


def _decode(text: str, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.DecodeError:
        return None
