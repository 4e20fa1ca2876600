"""Root causes: each that a pod or a Job can show, in the words of the API server, as a reason with what to do."""

from typing import Any

import pytest
from msgspec import structs
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.policy.view import PolicyView
from paddock_core.resources import names
from paddock_core.resources.conditions import ConditionType, Finding, fails, holds, is_well
from paddock_core.resources.llamadeployment import Condition
from paddock_core.resources.reasons import advice
from paddock_operator.decide import copies
from paddock_operator.decide.causes import WARNINGS, root_cause, words_of_job
from paddock_operator.decide.outcome import Outcome
from paddock_operator.decide.rollout.types import Verdict
from paddock_operator.decide.serving import Judgement, Wanted, judge
from paddock_operator.kinds import KUEUE_QUEUE, LEADER_WORKER_SET, POD, REPLICA_SET
from paddock_operator.observed import Child, Observed, Warned, parse
from paddock_operator.ports import Key, Policy
from paddock_operator.report import event, status_of, transitions

GPU = "nvidia.com/gpu"
IMAGE = "registry.test/serving@sha256:00"


def container(**state: Any) -> dict[str, Any]:
    """The status of a pod whose one container is in this state."""
    return {"phase": "Running", "containerStatuses": [{"name": "triton", "ready": False, **state}]}


def ended(code: int, words: str = "", *, reason: str = "Error") -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason, "message": words}}


def unplaced(message: str, *, reason: str = "Unschedulable") -> dict[str, Any]:
    condition = {"type": "PodScheduled", "status": "False", "reason": reason, "message": message}
    return {"phase": "Pending", "conditions": [condition]}


READY = {
    "phase": "Running",
    "podIP": "10.0.0.9",
    "conditions": [{"type": "Ready", "status": "True"}, {"type": "PodScheduled", "status": "True"}],
    "containerStatuses": [{"name": "triton", "ready": True, "lastState": ended(137, reason="OOMKilled")}],
}
"""Of a pod that has recovered from want of memory."""
BACK_OFF = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s restarting failed container"}}
RUNNING: dict[str, Any] = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}


def pod(name: str, status: dict[str, Any], *, worker: int | None = None) -> Child:
    """A pod that is a copy, or one of the pods of the group `g`."""
    group = {} if worker is None else {names.WORKER_INDEX: str(worker)}
    labels = {names.COPY: f"{name if worker is None else 'g'}-0", names.REVISION: "now", **group}
    metadata = {"name": name, "namespace": "s", "uid": name, "labels": labels}
    spec = {} if status.get("phase") == "Pending" else {"nodeName": "gpu-7"}
    return Child(kind=POD, manifest={"metadata": metadata, "spec": spec, "status": status})


def looked(*children: Child, probes: dict[str, str | None] | None = None, **status: Any) -> Observed:
    document = {
        "metadata": {"namespace": "acme", "name": "chat", "uid": "u", "generation": 7},
        "spec": {"model": {"id": "m"}, "replicas": 2},
        "status": status,
    }
    return Observed(
        key=Key("acme", "chat"),
        now=1_800_000_000.0,
        catalog=packaged_catalog(),
        policy=Policy(view=PolicyView.empty(), expired=False, at=0.0),
        deployment=parse(document)[0],
        children=children,
        probes=probes or {},
    )


def judged(observed: Observed, *, wanted: int = 1) -> Judgement:
    workloads = [child.manifest for child in observed.children if child.kind != POD]
    alive = {str(item.manifest["metadata"]["labels"][names.COPY]) for item in observed.children if item.kind == POD}
    made = [Child(kind=REPLICA_SET, manifest=workload(name)) for name in alive if not workloads]
    seen = structs.replace(observed, children=(*observed.children, *made))
    here = copies.of(seen, gpu=GPU)
    return judge(
        seen,
        here,
        wanted=Wanted(copies=wanted, gpu=GPU),
        endpoints=sum(1 for copy in here if copy.endpoint),
        probe_interval_seconds=30.0,
    )


def workload(name: str) -> dict[str, Any]:
    """What makes the pods of a copy, with nothing to say."""
    return {"metadata": {"name": name, "namespace": "s", "uid": f"of-{name}", "labels": {names.COPY: name}}}


def found(judgement: Judgement, kind: ConditionType) -> Finding | None:
    return next((finding for finding in judgement.findings if finding.type is kind), None)


CAUSES = {
    "InsufficientGPU": (
        unplaced("0/3 nodes are available: 1 Insufficient cpu, 2 Insufficient nvidia.com/gpu. preemption: 0/3 nodes"),
        "2 Insufficient nvidia.com/gpu",
    ),
    "InsufficientResources": (unplaced("0/3 nodes are available: 3 Insufficient memory."), "3 Insufficient memory"),
    "Unschedulable": (unplaced("0/3 nodes are available: 3 node(s) had untolerated taint {a: b}."), "untolerated"),
    "Queued": (unplaced("Scheduling is blocked due to non-empty scheduling gates", reason="SchedulingGated"), "gates"),
    "ImagePullFailed": (
        container(state={"waiting": {"reason": "ImagePullBackOff", "message": f'Back-off pulling image "{IMAGE}"'}}),
        IMAGE,
    ),
    "ContainerConfigInvalid": (
        container(state={"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "chat" not found'}}),
        'secret "chat" not found',
    ),
    "CrashLooping": (
        container(state=BACK_OFF, lastState=ended(1, "a first line\nno such file: /weights/x")),
        "exit code 1 (Error): a first line\nno such file: /weights/x",
    ),
    "EngineOOM": (container(state=BACK_OFF, lastState=ended(137, reason="OOMKilled")), "more memory than its limit"),
    "EngineIncompatible": (
        container(state=RUNNING, lastState=ended(1, "EngineIncompatible: the engine was built with TensorRT 10.1")),
        "the engine was built with TensorRT 10.1",
    ),
    "EnvironmentNotReady": (
        container(state=BACK_OFF, lastState=ended(1, "EnvironmentNotReady: no mpirun in this image")),
        "no mpirun in this image",
    ),
    "WorkerJoinTimeout": (
        container(state=BACK_OFF, lastState=ended(1, "WorkerJoinTimeout: 1 of 1 workers did not join within 900 s")),
        "did not join within 900 s",
    ),
    "RanksLost": (
        container(state=RUNNING, lastState=ended(1, "GroupFailed: chat-0-1.chat is gone: all ranks go")),
        "chat-0-1.chat is gone",
    ),
    "PodEvicted": (
        {"phase": "Failed", "reason": "UnexpectedAdmissionError", "message": "no healthy devices present"},
        "on gpu-7: UnexpectedAdmissionError: no healthy devices present",
    ),
}
"""Each reason, a pod that shows it, and the words that must reach the person who looks."""


@pytest.mark.parametrize("reason", CAUSES)
def test_a_pods_trouble_is_told_with_its_pod_its_words_and_what_to_do(reason: str) -> None:
    status, words = CAUSES[reason]
    serving = found(judged(looked(pod("chat-x", status))), ConditionType.SERVING)
    assert serving is not None
    assert (serving.status, serving.reason) == ("False", reason)
    assert "pod chat-x" in serving.message
    assert words in serving.message
    assert advice(reason) in serving.message
    if "containerStatuses" in status:
        assert "container triton of pod chat-x on gpu-7" in serving.message


def test_what_waits_for_a_queue_says_for_which() -> None:
    gated = pod("chat-x", CAUSES["Queued"][0]).manifest
    gated["spec"] = {"schedulingGates": [{"name": "example.com/budget"}]}
    by_gate = root_cause([gated])
    gated["metadata"]["labels"][KUEUE_QUEUE] = "gold"
    by_queue = root_cause([gated])
    assert by_gate is not None
    assert by_queue is not None
    assert by_gate.message.startswith("pod chat-x waits for the scheduling gate example.com/budget: Scheduling is")
    assert by_queue.message.startswith("pod chat-x waits for the queue gold of namespace s: Scheduling is blocked")


@pytest.mark.parametrize("word", [word for word, reason in WARNINGS.items() if reason != "PodsRefused"])
def test_what_an_event_says_of_a_pod_names_its_node(word: str) -> None:
    stuck = pod("chat-x", container(state={"waiting": {"reason": "ContainerCreating"}})).manifest
    stuck["spec"]["containers"] = [{}]
    cause = root_cause([stuck], warned={"chat-x": Warned(reason=word, message="it says why")})
    assert cause is not None
    assert cause.message == f"pod chat-x on gpu-7: {word}: it says why"


@pytest.mark.parametrize("reason", ["InsufficientGPU", "InsufficientResources", "Unschedulable", "Queued"])
def test_what_keeps_a_pod_from_a_node_is_told_by_scheduled_too(reason: str) -> None:
    scheduled = found(judged(looked(pod("chat-x", CAUSES[reason][0]))), ConditionType.SCHEDULED)
    assert scheduled is not None
    assert (scheduled.status, scheduled.reason) == ("False", reason)


@pytest.mark.parametrize("reason", [reason for reason in CAUSES if reason != "PodEvicted"])
def test_a_trouble_beside_a_copy_that_answers_degrades_and_stops_nothing(reason: str) -> None:
    status, words = CAUSES[reason]
    judgement = judged(looked(pod("chat-a", READY), pod("chat-x", status), probes={"chat-a": None}), wanted=2)
    serving, degraded = found(judgement, ConditionType.SERVING), found(judgement, ConditionType.DEGRADED)
    assert serving is not None
    assert serving.status == "True"
    assert degraded is not None
    assert (degraded.status, degraded.reason) == ("True", reason)
    assert words in degraded.message
    assert "1 of 2 copies answer" in degraded.message


def test_more_than_are_wanted_are_not_counted_as_a_part_of_them() -> None:
    judgement = judged(looked(pod("a", READY), pod("b", READY), probes={"a": None, "b": None}), wanted=1)
    serving, scheduled = found(judgement, ConditionType.SERVING), found(judgement, ConditionType.SCHEDULED)
    assert serving is not None
    assert serving.message == "2 copies answered a generation, 1 wanted"
    assert scheduled is not None
    assert scheduled.message == "2 pods have a node, 1 wanted"
    rolling = Outcome(findings=(SERVES,), wanted=1, ready_replicas=2, verdict=Verdict.ROLLING)
    assert told(rolling)["Progressing"].message.startswith("2 copies answer, 1 wanted; ")


def test_a_trouble_that_is_over_is_told_no_more() -> None:
    judgement = judged(looked(pod("chat-a", READY), probes={"chat-a": None}))
    assert found(judgement, ConditionType.DEGRADED) is None
    assert root_cause([pod("chat-a", READY).manifest]) is None


def test_an_evicted_pod_is_told_until_another_one_is_there() -> None:
    evicted = pod("chat-x", {**CAUSES["PodEvicted"][0], "reason": "Evicted"})
    loading = pod("chat-y", container(state=RUNNING))
    serving = found(judged(looked(evicted, loading)), ConditionType.SERVING)
    assert serving is not None
    assert serving.reason == "Loading"
    beside = judged(looked(evicted, pod("chat-a", READY), probes={"chat-a": None}))
    assert found(beside, ConditionType.DEGRADED) is None
    scheduled = found(judged(looked(evicted)), ConditionType.SCHEDULED)
    assert scheduled is not None
    assert scheduled.reason == "PodsPending", "a pod that is over stands on no node any more"


def test_what_refused_a_pod_is_told_until_a_node_has_taken_up_the_next_one_of_its_copy() -> None:
    refused, words = pod("chat-x", CAUSES["PodEvicted"][0], worker=0), CAUSES["PodEvicted"][1]
    waits = pod("chat-y", {"phase": "Pending"}, worker=0)
    cause = root_cause([refused.manifest, waits.manifest])
    assert cause is not None
    assert words in cause.message
    unplaced_one = pod("chat-y", CAUSES["InsufficientGPU"][0], worker=0)
    cause = root_cause([refused.manifest, unplaced_one.manifest], gpu=GPU)
    assert cause is not None
    assert cause.reason == "InsufficientGPU", "what is so now goes first"
    creating = pod("chat-y", container(state={"waiting": {"reason": "ContainerCreating"}}), worker=0)
    assert root_cause([refused.manifest, creating.manifest]) is None
    other = pod("chat-a", READY)
    cause = root_cause([refused.manifest, waits.manifest, other.manifest])
    assert cause is not None, "another copy's pod does not stand in for it"


def test_a_container_that_was_started_again_is_not_taken_for_one_that_loads() -> None:
    again = container(state=RUNNING, lastState=ended(139, "segmentation fault"))
    serving = found(judged(looked(pod("chat-x", again))), ConditionType.SERVING)
    assert serving is not None
    assert serving.reason == "CrashLooping", "the reason stays from one start to the next"


@pytest.mark.parametrize("words", ["CUDA out of memory. Tried to allocate 2 GiB", "cudaErrorMemoryAllocation"])
def test_a_gpu_without_memory_is_want_of_memory_too(words: str) -> None:
    cause = root_cause([pod("x", container(state=BACK_OFF, lastState=ended(1, words))).manifest])
    assert cause is not None
    assert cause.reason == "EngineOOM"


@pytest.mark.parametrize("leader", ["WorkerJoinTimeout", "RanksLost", "CrashLooping"])
@pytest.mark.parametrize("worker", ["ImagePullFailed", "EngineOOM", "InsufficientGPU", "ContainerConfigInvalid"])
def test_a_workers_own_trouble_goes_before_what_its_leader_says_of_it(leader: str, worker: str) -> None:
    observed = looked(pod("g-0", CAUSES[leader][0], worker=0), pod("g-0-1", CAUSES[worker][0], worker=1))
    serving = found(judged(observed), ConditionType.SERVING)
    assert serving is not None
    assert serving.reason == worker
    assert "pod g-0-1" in serving.message


def test_a_worker_that_keeps_ending_goes_before_the_leader_that_waits_for_it() -> None:
    leader, worker = CAUSES["WorkerJoinTimeout"][0], CAUSES["CrashLooping"][0]
    serving = found(judged(looked(pod("g-0", leader, worker=0), pod("g-0-1", worker, worker=1))), ConditionType.SERVING)
    assert serving is not None
    assert serving.reason == "CrashLooping"
    assert "pod g-0-1" in serving.message


def test_a_ready_pod_that_generates_nothing_is_told() -> None:
    serving = found(judged(looked(pod("a", READY), probes={"a": "timed out after 10 s"})), ConditionType.SERVING)
    assert serving is not None
    assert serving.reason == "ProbeFailed"
    assert "pod a on gpu-7 is ready but generates nothing: timed out after 10 s" in serving.message
    observed = looked(pod("a", READY), pod("b", READY), probes={"a": "timed out", "b": None})
    degraded = found(judged(observed, wanted=2), ConditionType.DEGRADED)
    assert degraded is not None
    assert degraded.reason == "ProbeFailed"


def test_a_quota_that_lets_no_pod_be_created_is_told() -> None:
    words = 'pods "chat-x" is forbidden: exceeded quota: gpus'
    failure = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": words}
    manifest = {"metadata": {"name": "chat", "namespace": "s", "uid": "d"}, "status": {"conditions": [failure]}}
    judgement = judged(looked(Child(kind=REPLICA_SET, manifest=manifest)))
    for kind in (ConditionType.SCHEDULED, ConditionType.SERVING):
        finding = found(judgement, kind)
        assert finding is not None
        assert finding.reason == "PodsRefused"
        assert words in finding.message


def test_a_quota_that_lets_no_pod_of_a_group_be_created_is_told() -> None:
    words = 'create Pod g-0 in StatefulSet g failed error: pods "g-0" is forbidden: exceeded quota'
    group = Child(kind=LEADER_WORKER_SET, manifest={"metadata": {"name": "g", "namespace": "s", "uid": "g"}})
    observed = structs.replace(looked(group), warned={"g": Warned(reason="FailedCreate", message=words)})
    for kind in (ConditionType.SCHEDULED, ConditionType.SERVING):
        finding = found(judged(observed), kind)
        assert finding is not None
        assert finding.reason == "PodsRefused"
        assert words in finding.message


def test_a_volume_that_is_not_mounted_is_told() -> None:
    stuck = pod("chat-x", container(state={"waiting": {"reason": "ContainerCreating"}}))
    event = Warned(reason="FailedMount", message='configmap "chat" not found')
    observed = structs.replace(looked(stuck), warned={"chat-x": event})
    serving = found(judged(observed), ConditionType.SERVING)
    assert serving is not None
    assert serving.reason == "VolumeNotMounted"
    assert 'chat-x: FailedMount: configmap "chat" not found' in serving.message
    recovered = found(judged(structs.replace(observed, warned={})), ConditionType.SERVING)
    assert recovered is not None
    assert recovered.reason == "PodsPending", "no engine loads where no container runs"


def test_claims_that_cannot_be_met_are_gpus() -> None:
    status = unplaced("0/3 nodes are available: 3 cannot allocate all claims.")
    cause = root_cause([pod("x", status).manifest])
    assert cause is not None
    assert cause.reason == "InsufficientGPU"


def test_a_job_without_words_is_told_by_its_pods_or_else_by_its_controller() -> None:
    over = {"type": "Failed", "status": "True", "reason": "DeadlineExceeded", "message": "Job was active too long"}
    job = {"status": {"conditions": [over]}}
    killed = pod("w", {**container(state=ended(137, reason="OOMKilled")), "phase": "Failed"}).manifest
    left = pod("w", {**container(state=ended(1, "WeightsVolumeFull: 9 bytes")), "phase": "Failed"}).manifest
    assert words_of_job(job, [killed, left]) == "WeightsVolumeFull: 9 bytes"
    assert "container triton of pod w on gpu-7: ended for using more memory" in words_of_job(job, [killed])
    assert words_of_job(job, []) == "DeadlineExceeded: Job was active too long"


def told(outcome: Outcome) -> dict[str, Condition]:
    status = status_of(looked(), outcome, gateway_url="")
    assert all(condition.observed_generation == 7 for condition in status.conditions)
    return {condition.type: condition for condition in status.conditions}


ACCEPTED = holds(ConditionType.ACCEPTED, "Accepted", "")
SERVES = holds(ConditionType.SERVING, "Serving", "")


@pytest.mark.parametrize(
    ("findings", "more", "progressing"),
    [
        ((ACCEPTED, fails(ConditionType.WEIGHTS_READY, "Preparing", "")), {}, ("True", "Preparing")),
        ((ACCEPTED, fails(ConditionType.WEIGHTS_READY, "WeightsFailed", "")), {}, ("False", "WeightsFailed")),
        ((ACCEPTED, fails(ConditionType.PLANNED, "NoGPU", ""), SERVES), {"ready_replicas": 2}, ("False", "NoGPU")),
        ((ACCEPTED, fails(ConditionType.SERVING, "Loading", "")), {}, ("True", "Loading")),
        ((ACCEPTED, fails(ConditionType.SERVING, "EngineOOM", "")), {}, ("False", "EngineOOM")),
        ((ACCEPTED, SERVES), {"ready_replicas": 1}, ("True", "RollingOut")),
        ((ACCEPTED, SERVES), {"ready_replicas": 2, "verdict": Verdict.ROLLING}, ("True", "RollingOut")),
        ((ACCEPTED, SERVES), {"ready_replicas": 2, "verdict": Verdict.GOING_BACK}, ("True", "RollingOut")),
        ((ACCEPTED, SERVES), {"ready_replicas": 2, "verdict": Verdict.ROLLED_BACK}, ("False", "RolledBack")),
        ((ACCEPTED, SERVES), {"ready_replicas": 2, "verdict": Verdict.STOPPED}, ("False", "RolloutFailed")),
        (
            (ACCEPTED, SERVES, holds(ConditionType.DEGRADED, "EngineOOM", "")),
            {"ready_replicas": 1},
            ("False", "EngineOOM"),
        ),
        ((ACCEPTED, SERVES), {"ready_replicas": 2}, None),
        ((ACCEPTED, fails(ConditionType.SERVING, "Stopped", "")), {}, None),
        ((ACCEPTED, fails(ConditionType.SERVING, "ScaledToZero", "")), {}, None),
    ],
)
def test_progressing_tells_whether_it_gets_on_and_is_absent_where_all_is_as_asked(
    findings: tuple[Finding, ...], more: dict[str, Any], progressing: tuple[str, str] | None
) -> None:
    condition = told(Outcome(findings=findings, wanted=2, **more)).get("Progressing")
    assert (condition and (condition.status, condition.reason)) == progressing


def test_degraded_is_a_warning_and_progressing_no_event() -> None:
    observed = looked()
    degraded = holds(ConditionType.DEGRADED, "EngineOOM", "pod x")
    status = status_of(observed, Outcome(findings=(SERVES, degraded), ready_replicas=1), gateway_url="")
    events = {item.type: event(observed, item)["type"] for item in transitions((), status.conditions)}
    assert events == {"Degraded": "Warning"}
    assert [is_well(item) for item in status.conditions] == [True, False, False]
