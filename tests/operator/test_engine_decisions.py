"""Which image an engine runs in, and the way of a compiled engine: built, failed, refused, made anew."""

import json
from dataclasses import replace
from typing import Any

import pytest
from msgspec import structs
from paddock_core.catalog.images import Pin, packaged_images, with_pins
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.engines.request import decode
from paddock_core.planning.fit import plan as fit
from paddock_core.planning.gpus import hypothetical
from paddock_core.planning.types import Ask, Inventory, Plan
from paddock_core.resources import names
from paddock_core.resources.conditions import ConditionReason, ConditionType
from paddock_operator.decide import desired, engine, images
from paddock_operator.decide.actions import AddFinalizer, Apply, Delete, RecordResult
from paddock_operator.decide.outcome import Config, Outcome
from paddock_operator.kinds import CONFIG_MAP, JOB, LOCAL_QUEUES, POD, POD_GROUP, REPLICA_SET, kind_of
from paddock_operator.observed import Child, EngineJob, Observed, WeightsJob, parse
from paddock_operator.ports import Key, Policy
from paddock_operator.times import parse_time

from tests.operator import platforms
from tests.operator.platforms import licensed

NOW = 1_800_000_000.0
BEFORE, LATER = "2027-01-15T07:50:00Z", "2027-01-15T07:55:00Z"
"""Ten and five minutes before NOW."""
KEY = Key("acme", "chat")
MODEL = "llama-3.1-8b-instruct"
DIGEST = "sha256:" + "a" * 64
WEIGHTS = "b1" * 32
RESULT = json.dumps({"tokenizer": "sha256:" + "7" * 64, "weights": WEIGHTS, "bytes": 16 * 1024**3})
CONFIG = replace(
    platforms.CONFIG,
    allow_unpinned_images=False,
    scheduler_names=("volcano", "own"),
    volcano_queues=("gold",),
    toleration_keys=("*",),
    drain_seconds=0.0,
    priority_classes=("high",),
    images=with_pins(packaged_images(), {"trtllm-26.07": Pin(digest=DIGEST)}),
)


@pytest.fixture(scope="module")
def policy() -> Policy:
    return licensed("llama3.1")


def look(policy: Policy, *, engine_type: str = "TensorRTEngine", **changes: Any) -> Observed:
    """A deployment on H100 nodes, whose weights are there."""
    metadata = {"namespace": "acme", "name": "chat", "uid": "u1", "generation": 1, "resourceVersion": "5"}
    spec = {"model": {"id": MODEL}, "engine": {"type": engine_type, "contextLength": 4096, "maxConcurrency": 4}}
    spec["parallelism"], spec["placement"] = changes.pop("parallelism", {}), changes.pop("placement", {})
    deployment, problem = parse({"metadata": metadata, "spec": spec, "status": changes.pop("status", {})})
    job = {
        "metadata": {"name": "w", "namespace": "paddock-weights", "uid": "j1", "annotations": {names.RESULT: RESULT}}
    }
    values: dict[str, Any] = {
        "key": KEY,
        "now": NOW,
        "catalog": packaged_catalog(),
        "policy": policy,
        "inventory": hypothetical(gpu="H100-80"),
        "deployment": deployment,
        "problem": problem,
        "weights": WeightsJob(job=job),
    }
    return Observed(**{**values, **changes})


def started(observed: Observed, config: Config = CONFIG) -> dict[str, Any]:
    """The engine Job that is asked for."""
    outcome = desired.decide(observed, config)
    found = [item.manifest for item in outcome.actions if isinstance(item, Apply) and kind_of(item.manifest) == JOB]
    assert len(found) == 1
    return found[0]


def with_job(policy: Policy, *, condition: str | None = None, words: str = "", **changes: Any) -> Observed:
    """As if the Job that is asked for existed, in this state."""
    fresh = look(policy, **{name: value for name, value in changes.items() if name == "parallelism"})
    manifest = started(fresh)
    held = [] if condition is None else [{"type": condition, "status": "True", "lastTransitionTime": BEFORE}]
    metadata = {**manifest["metadata"], "uid": "e1", "annotations": changes.pop("annotations", {})}
    job = {"metadata": {**metadata, **changes.pop("metadata", {})}, "status": {"conditions": held}}
    state = {"containerStatuses": [{"name": "build", "state": {"terminated": {"message": words}}}]}
    pods = ({"metadata": {"name": "engine-x"}, "status": changes.pop("pod_status", state if words else {})},)
    return look(policy, engines=(EngineJob(job=job, pods=pods),), **changes)


def condition_of(outcome: Outcome, kind: ConditionType = ConditionType.ENGINE_READY) -> tuple[str, str]:
    found = next(item for item in outcome.findings if item.type is kind)
    return found.status, found.reason


def applied(outcome: Outcome, kind: Any) -> list[dict[str, Any]]:
    return [item.manifest for item in outcome.actions if isinstance(item, Apply) and kind_of(item.manifest) == kind]


def served_pod(words: str, *, created: str) -> Child:
    labels = {names.DEPLOYMENT_NAMESPACE: "acme", names.DEPLOYMENT_NAME: "chat", names.DEPLOYMENT_UID: "u1"}
    owner = {"kind": REPLICA_SET.name, "name": "p", "uid": "r1", "controller": True}
    metadata: dict[str, Any] = {"name": "p", "namespace": "paddock-serving-acme", "uid": "p1", "labels": labels}
    metadata["ownerReferences"] = [owner]
    ended = {"terminated": {"message": words}}
    status = {"containerStatuses": [{"name": "triton", "state": {"running": {}}, "lastState": ended}]}
    return Child(
        kind=POD, manifest={"metadata": {**metadata, "creationTimestamp": created}, "spec": {}, "status": status}
    )


def test_an_engine_that_is_not_there_is_built_before_anything_is_served(policy: Policy) -> None:
    observed = look(policy)
    outcome = desired.decide(observed, CONFIG)
    assert condition_of(outcome) == ("False", ConditionReason.ENGINE_BUILDING)
    assert any(isinstance(action, AddFinalizer) for action in outcome.actions)
    assert not applied(outcome, REPLICA_SET)
    job = started(observed)
    pod = job["spec"]["template"]["spec"]
    container = pod["containers"][0]
    environment = {item["name"]: item["value"] for item in container["env"]}
    request = decode(environment["PADDOCK_SERVING_ENGINE"])
    assert (request.weights, request.image) == (WEIGHTS, f"localhost/paddock/serving-trtllm:26.07@{DIGEST}")
    assert (request.tensorrt_llm, request.tensorrt, request.compute_capability) == ("1.2.1", "10.14.1.48", 90)
    assert container["image"] == request.image
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    terms = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert "NVIDIA-H100-80GB-HBM3" in terms[0]["matchExpressions"][0]["values"]
    assert job["metadata"]["namespace"] == names.WEIGHTS_NAMESPACE


def test_one_that_finds_no_gpus_looks_again_by_itself(policy: Policy) -> None:
    outcome = desired.decide(look(policy, inventory=Inventory(left_out=2)), CONFIG)
    assert condition_of(outcome, ConditionType.PLANNED) == ("False", "NoGPU")
    assert outcome.look_after_seconds == desired.LACK_SECONDS


@pytest.mark.parametrize("kind", ["LLMAPI", "LlamaCpp"])
def test_other_engines_have_no_such_condition(policy: Policy, kind: str) -> None:
    outcome = desired.decide(look(policy, engine_type=kind), CONFIG)
    assert ConditionType.ENGINE_READY not in {item.type for item in outcome.findings}


def test_a_built_engine_is_recorded_and_served(policy: Policy) -> None:
    key = names.engine_job_name("x")
    words = json.dumps({"engine": key, "bytes": 17})
    outcome = desired.decide(with_job(policy, condition="Complete", words=words), CONFIG)
    assert condition_of(outcome) == ("True", ConditionReason.ENGINE_READY)
    record = next(action for action in outcome.actions if isinstance(action, RecordResult))
    assert (record.annotation, record.result) == (names.RESULT, words)
    config = applied(outcome, CONFIG_MAP)[0]["data"]["tensorrt_llm__1__model.yaml"]
    assert f"tokenizer: /weights/{WEIGHTS}\n" in config
    assert "engine: tensorrt\n" in config
    pod = applied(outcome, REPLICA_SET)[0]["spec"]["template"]["spec"]["containers"][0]
    assert pod["image"].endswith(DIGEST)
    again = desired.decide(with_job(policy, annotations={names.RESULT: words}), CONFIG)
    assert condition_of(again) == ("True", ConditionReason.ENGINE_READY)
    assert applied(again, CONFIG_MAP) == applied(outcome, CONFIG_MAP)
    assert not [action for action in again.actions if isinstance(action, RecordResult)]


def test_a_result_that_was_lost_is_asked_for_again(policy: Policy) -> None:
    outcome = desired.decide(with_job(policy, condition="Complete"), CONFIG)
    assert condition_of(outcome) == ("False", ConditionReason.ENGINE_BUILDING)
    assert [(item.kind, item.uid) for item in outcome.actions if isinstance(item, Delete)] == [(JOB, "e1")]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("EngineBuild: trtllm-build ended with 1: out of memory", ConditionReason.BUILD_FAILED),
        ("EngineIncompatible: the engine is asked for with TensorRT 1", ConditionReason.ENGINE_INCOMPATIBLE),
    ],
)
def test_a_failed_build_says_why_and_is_tried_again_after_a_while(policy: Policy, words: str, reason: str) -> None:
    observed = with_job(policy, condition="Failed", words=words)
    failed = parse_time(BEFORE)
    early = desired.decide(structs.replace(observed, now=failed + 10), CONFIG)
    assert condition_of(early) == ("False", reason)
    assert words in next(item.message for item in early.findings if item.type is ConditionType.ENGINE_READY)
    assert not [action for action in early.actions if isinstance(action, Delete)]
    late = desired.decide(structs.replace(observed, now=failed + engine.RETRY_SECONDS), CONFIG)
    assert [item.uid for item in late.actions if isinstance(item, Delete)] == ["e1"]


def test_a_build_that_finds_no_node_says_so(policy: Policy) -> None:
    text = "0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
    unschedulable = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": text}
    outcome = desired.decide(with_job(policy, pod_status={"conditions": [unschedulable]}), CONFIG)
    assert condition_of(outcome) == ("False", ConditionReason.INSUFFICIENT_GPU)


def test_while_a_job_goes_or_runs_nothing_is_done_twice(policy: Policy) -> None:
    for observed in (with_job(policy), with_job(policy, metadata={"deletionTimestamp": BEFORE})):
        outcome = desired.decide(observed, CONFIG)
        assert condition_of(outcome) == ("False", ConditionReason.ENGINE_BUILDING)
        assert not applied(outcome, JOB)


REFUSED = "EngineIncompatible: the engine was built with a GPU of compute capability 9.0, here is 8.9"


def test_a_refusal_of_a_server_is_noted_and_the_servers_go(policy: Policy) -> None:
    children = (served_pod(REFUSED, created=LATER), Child(kind=REPLICA_SET, manifest=deployment_manifest()))
    words = json.dumps({"engine": "k", "bytes": 17})
    observed = with_job(policy, condition="Complete", annotations={names.RESULT: words}, children=children)
    outcome = desired.decide(observed, CONFIG)
    assert condition_of(outcome) == ("False", ConditionReason.ENGINE_INCOMPATIBLE)
    record = next(action for action in outcome.actions if isinstance(action, RecordResult))
    assert record.annotation == names.REFUSED
    assert [item.kind for item in outcome.actions if isinstance(item, Delete)] == [REPLICA_SET]
    # From then on by what was noted alone: the pods are gone, and nothing is created or written.
    noted = {names.RESULT: words, names.REFUSED: record.result}
    after = desired.decide(with_job(policy, condition="Complete", annotations=noted), CONFIG)
    assert condition_of(after) == ("False", ConditionReason.ENGINE_INCOMPATIBLE)
    assert after.actions == ()
    assert REFUSED in next(item.message for item in after.findings if item.type is ConditionType.ENGINE_READY)
    anew = with_job(policy, condition="Complete", annotations=noted, now=NOW + engine.REFUSED_SECONDS)
    assert [item.uid for item in desired.decide(anew, CONFIG).actions if isinstance(item, Delete)] == ["e1"]


def test_words_of_servers_from_before_the_engine_was_made_do_not_count(policy: Policy) -> None:
    words = json.dumps({"engine": "k", "bytes": 17})
    old = (served_pod(REFUSED, created="2027-01-15T07:40:00Z"),)
    observed = with_job(policy, condition="Complete", annotations={names.RESULT: words}, children=old)
    assert condition_of(desired.decide(observed, CONFIG)) == ("True", ConditionReason.ENGINE_READY)


def test_another_image_is_another_engine(policy: Policy) -> None:
    other = replace(CONFIG, images=with_pins(packaged_images(), {"trtllm-26.06": Pin(digest=DIGEST)}))
    first, second = started(look(policy)), started(look(policy), other)
    assert first["metadata"]["name"] != second["metadata"]["name"]
    assert first["metadata"]["labels"][names.MODEL_DIGEST] == second["metadata"]["labels"][names.MODEL_DIGEST]


def test_an_engine_of_several_pods_is_refused_with_what_works_instead(policy: Policy) -> None:
    model = packaged_catalog().models[MODEL]
    ask = Ask(engine="TensorRTEngine", context_length=4096, max_concurrency=4)
    answer = fit(model=model, ask=ask, inventory=hypothetical(gpu="H100-80"))
    assert isinstance(answer, Plan)
    judged = engine.judge(look(policy), CONFIG, model, replace(answer, pods_per_group=2), weights=WEIGHTS)
    assert judged.finding is not None
    assert judged.finding.reason == ConditionReason.ENGINE_UNSUPPORTED
    assert "LLMAPI, which compiles nothing" in judged.finding.message
    assert not judged.actions


def judged(policy: Policy, model_id: str, gpu: str, precision: str) -> tuple[engine.Judgement, Plan]:
    model, inventory = packaged_catalog().models[model_id], hypothetical(gpu=gpu)
    answer = fit(model=model, ask=Ask(engine="TensorRTEngine", precision=precision), inventory=inventory)
    assert isinstance(answer, Plan)
    return engine.judge(look(policy, inventory=inventory), CONFIG, model, answer, weights=WEIGHTS), answer


@pytest.mark.parametrize(
    ("gpu", "precision", "gpus"),
    [("H200-141", "fp8", 2), ("A100-80", "int4-awq", 3), ("H200-141", "bf16", 2)],
)
def test_a_job_is_as_large_as_the_weights_that_it_reads(policy: Policy, gpu: str, precision: str, gpus: int) -> None:
    found, answer = judged(policy, "llama-3.1-70b-instruct", gpu, precision)
    source = packaged_catalog().models["llama-3.1-70b-instruct"].weights["bf16"].bytes
    job = next(item.manifest for item in found.actions if isinstance(item, Apply) and kind_of(item.manifest) == JOB)
    resources = job["spec"]["template"]["spec"]["containers"][0]["resources"]
    assert resources["limits"]["nvidia.com/gpu"] == resources["requests"]["nvidia.com/gpu"] == str(gpus)
    assert answer.gpus_per_pod <= gpus
    times = 2 if precision != "bf16" else 1
    assert int(resources["requests"]["memory"].removesuffix("Mi")) * 1024**2 > times * source
    assert job["spec"]["activeDeadlineSeconds"] > source // (32 * 1024**2)


def test_weights_that_no_node_holds_are_not_quantized(policy: Policy) -> None:
    found, _answer = judged(policy, "llama-3.1-405b-instruct", "A100-80", "int4-awq")
    assert found.finding is not None
    assert found.finding.reason == ConditionReason.ENGINE_UNSUPPORTED
    assert "and a node has 8 to give" in found.finding.message
    assert "LLMAPI with weights that are published in int4-awq" in found.finding.message
    assert not found.actions


PLACED = {
    "nodeSelector": {"pool": "gold"},
    "tolerations": [{"key": "dedicated", "operator": "Exists"}],
    "schedulerName": "own",
    "priorityClassName": "high",
    "queue": "gold",
}


def test_a_job_is_placed_and_queued_as_the_servers_are(policy: Policy) -> None:
    apis = frozenset({*LOCAL_QUEUES, POD_GROUP})
    job = started(look(policy, placement=PLACED, apis=apis))
    pod = job["spec"]["template"]["spec"]
    assert (pod["nodeSelector"], pod["schedulerName"], pod["priorityClassName"]) == ({"pool": "gold"}, "own", "high")
    assert [item["key"] for item in pod["tolerations"]] == ["nvidia.com/gpu", "dedicated"]
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gold"
    gang = started(look(policy, placement={**PLACED, "schedulerName": "volcano"}, apis=apis))
    assert "kueue.x-k8s.io/queue-name" not in gang["metadata"]["labels"]
    annotations = gang["spec"]["template"]["metadata"]["annotations"]
    assert annotations == {"scheduling.volcano.sh/queue-name": "gold"}


def test_a_job_that_its_queue_holds_back_says_so(policy: Policy) -> None:
    seen = with_job(policy)
    held = replace(seen.engines[0], job={**seen.engines[0].job, "spec": {"suspend": True}})
    outcome = desired.decide(structs.replace(seen, engines=(held,)), CONFIG)
    assert condition_of(outcome) == ("False", ConditionReason.ENGINE_BUILDING)
    message = next(item.message for item in outcome.findings if item.type is ConditionType.ENGINE_READY)
    assert "paddock-weights must have one of the same name" in message


@pytest.mark.parametrize("kind", ["LLMAPI", "TensorRTEngine"])
def test_an_image_without_a_digest_is_not_run(policy: Policy, kind: str) -> None:
    strict = replace(CONFIG, images=packaged_images())
    outcome = desired.decide(look(policy, engine_type=kind), strict)
    assert condition_of(outcome, ConditionType.IMAGE_ACCEPTED) == ("False", ConditionReason.IMAGE_NOT_PINNED)
    assert not [action for action in outcome.actions if isinstance(action, Apply)]
    message = next(item.message for item in outcome.findings if item.type is ConditionType.IMAGE_ACCEPTED)
    assert "paddock images pin" in message


def test_where_the_platform_allows_it_the_condition_warns(policy: Policy) -> None:
    lenient = replace(CONFIG, images=packaged_images(), allow_unpinned_images=True)
    outcome = desired.decide(look(policy, engine_type="LLMAPI"), lenient)
    assert condition_of(outcome, ConditionType.IMAGE_ACCEPTED) == ("True", ConditionReason.IMAGE_NOT_PINNED)
    assert applied(outcome, REPLICA_SET)


def test_a_cpu_engine_runs_in_the_platforms_general_image() -> None:
    assert images.judge(CONFIG, "LlamaCpp") is None
    assert images.image_of(CONFIG, "LlamaCpp") == CONFIG.serving_image


def deployment_manifest() -> dict[str, Any]:
    labels = {names.DEPLOYMENT_NAMESPACE: "acme", names.DEPLOYMENT_NAME: "chat", names.DEPLOYMENT_UID: "u1"}
    return {"metadata": {"name": "d", "namespace": "paddock-serving-acme", "uid": "d1", "labels": labels}}
