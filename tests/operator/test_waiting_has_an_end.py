"""What is only waited for is told as it is, and after a limit as what does not get on, by rounds of its own."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from paddock_core.resources.conditions import ConditionReason, ConditionType, Finding, fails, holds
from paddock_core.resources.llamadeployment import Condition
from paddock_core.signals import DeploymentSignal
from paddock_operator.decide import patience
from paddock_operator.decide.outcome import Coming, Outcome
from paddock_operator.decide.rollout.types import Verdict
from paddock_operator.gateways import Gateways, GatewayView
from paddock_operator.kinds import POD, REPLICA_SET
from paddock_operator.observed import Observed
from paddock_operator.times import format_time

from tests.operator.platforms import CONFIG, licensed

DEADLINE = 600
EXCEEDED = ("False", "ProgressDeadlineExceeded")
TOLD = {"type": "PodScheduled", "status": "True"}
UNREADY = {"type": "Ready", "status": "False"}
CREATING = {"name": "triton", "ready": False, "restartCount": 0, "state": {"waiting": {"reason": "ContainerCreating"}}}


@pytest.fixture
def world(worlds: Any) -> Any:
    spec = {"model": {"id": "smollm2-135m-instruct"}, "replicas": 2, "rollout": {"deadlineSeconds": DEADLINE}}
    return worlds.World(config=CONFIG, policy=licensed("llama3.2"), spec=spec)


def told(world: Any, kind: str) -> Condition | None:
    return next((item for item in world.parsed().conditions if item.type == kind), None)


def said(world: Any, kind: str = "Progressing") -> tuple[str, str] | None:
    item = told(world, kind)
    return None if item is None else (item.status, item.reason)


def put(world: Any, status: dict[str, Any], *, node: str = "n", **metadata: Any) -> None:
    """All pods show this status, on this node."""
    for (kind, name), pod in list(world.objects.items()):
        if kind == POD:
            bare = {field: value for field, value in pod["spec"].items() if field != "nodeName"}
            spec = {**bare, "nodeName": node} if node else bare
            merged = {**pod["metadata"], **metadata}
            world.objects[kind, name] = {**pod, "metadata": merged, "spec": spec, "status": status}


def wait(world: Any, seconds: float) -> None:
    """Time passes, in which nothing happens: rounds come when they said so themselves."""
    end = world.now + seconds
    while world.now < end:
        outcome = world.round()
        assert outcome.look_after_seconds is not None, "nobody would look again"
        world.now += max(1.0, outcome.look_after_seconds)
    world.round()


def no_scheduler(world: Any) -> None:
    world.pods_come(ready=False)
    put(world, {"phase": "Pending"}, node="")


def image_is_pulled(world: Any) -> None:
    world.pods_come(ready=False)
    put(world, {"phase": "Pending", "conditions": [TOLD, UNREADY], "containerStatuses": [CREATING]})


def no_kubelet(world: Any) -> None:
    world.pods_come(ready=False)
    put(world, {"phase": "Pending", "conditions": [TOLD]})


def strange_sidecar(world: Any) -> None:
    world.pods_come(ready=False)
    own = {"name": "triton", "ready": True, "restartCount": 0, "state": {"running": {}}}
    other = {"name": "proxy", "ready": False, "restartCount": 0, "state": {"running": {}}}
    put(world, {"phase": "Running", "conditions": [TOLD, UNREADY], "containerStatuses": [own, other]})


def pods_stay_terminating(world: Any) -> None:
    world.pods_come(ready=False)
    put(world, {"phase": "Running", "conditions": [UNREADY]}, deletionTimestamp=format_time(world.now))


def loads_for_ever(world: Any) -> None:
    world.pods_come(ready=False)


def no_controller(world: Any) -> None:
    """Nobody makes pods."""


CASES: dict[str, tuple[Callable[[Any], None], str, str]] = {
    "no scheduler": (no_scheduler, "PodsPending", "waits for a node, and no scheduler has said anything"),
    "image is pulled": (image_is_pulled, "PodsPending", "on n waits for its containers, which the node makes"),
    "no kubelet": (no_kubelet, "PodsPending", "on n waits for the node's kubelet"),
    "strange sidecar": (strange_sidecar, "PodsPending", "on n waits for its container proxy, which is not Paddock's"),
    "terminating": (pods_stay_terminating, "PodsPending", "of before has not ended"),
    "no controller": (no_controller, "PodsPending", "which the controller of its ReplicaSet makes"),
    "loads for ever": (loads_for_ever, "Loading", "the engine is loading the weights: pod "),
}


@pytest.mark.parametrize("case", CASES)
def test_what_nobody_brings_about_is_told_after_the_deadline_with_what_it_waits_for(world: Any, case: str) -> None:
    play, reason, words = CASES[case]
    world.round()
    play(world)
    wait(world, DEADLINE - 100.0)
    serving, progressing = told(world, "Serving"), told(world, "Progressing")
    assert serving is not None
    assert progressing is not None
    assert serving.reason == reason
    if reason != "Loading":
        assert words in serving.message, "told before the deadline too"
    assert progressing.status == "True"
    # A container that starts is left alone for as long as its probe says.
    wait(world, 2000.0)
    late = told(world, "Progressing")
    assert late is not None
    assert (late.status, late.reason) == EXCEEDED
    assert reason in late.message
    assert words in late.message
    wait(world, 3600.0)
    assert told(world, "Progressing") == late, "what is told does not change any more, so nothing is written"


def test_what_comes_after_all_ends_it_and_has_its_time_anew(world: Any) -> None:
    world.round()
    no_scheduler(world)
    wait(world, DEADLINE + 100.0)
    assert said(world) == EXCEEDED
    now = format_time(world.now)
    put(world, {"phase": "Running", "conditions": [{**TOLD, "lastTransitionTime": now}, UNREADY], "startTime": now})
    world.round()
    assert said(world) == ("True", "Loading")
    put(world, {"phase": "Running", "podIP": "10.0.0.1", "conditions": [{"type": "Ready", "status": "True"}]})
    world.round()
    assert said(world, "Serving") == ("True", "Serving")
    assert said(world) is None or said(world) == ("True", "RollingOut")


def test_a_copy_that_does_not_come_beside_one_that_answers_is_told_too(world: Any) -> None:
    world.rounds()
    world.now += 30 * 86400.0
    name = world.names(REPLICA_SET)[0]
    for pod in world.pods(name):
        world.objects.pop((POD, pod["metadata"]["name"]))
    world.round()
    assert said(world) == ("True", "PodsPending"), "an old copy whose pod is made anew has its time from then on"
    world.pods_come(ready=False)
    world.round()
    assert said(world) == ("True", "RollingOut")
    wait(world, 3000.0)
    late = told(world, "Progressing")
    assert late is not None
    assert (late.status, late.reason) == EXCEEDED
    assert f"pod {name}-x" in late.message
    assert said(world, "Serving") == ("True", "Serving")


def test_a_gateway_that_stays_behind_is_told(world: Any) -> None:
    world.rounds()
    signal = DeploymentSignal(name="acme/chat", uid="u1", routing="sha256:former")
    view = GatewayView(instance="gateway-1", heard_at=world.now, age_seconds=1.0, synced=True, signal=signal)
    world.seen["gateways"] = Gateways(configured=True, views=(view,))
    world.round()
    assert said(world) == ("True", "GatewayBehind")
    wait(world, DEADLINE + 100.0)
    assert said(world) == EXCEEDED
    late = told(world, "Progressing")
    assert late is not None
    assert "gateway-1" in late.message


def test_an_injected_container_that_ends_before_the_engine_begins_is_its_cause(world: Any) -> None:
    ended = {"exitCode": 1, "reason": "Error", "message": "iptables: Permission denied"}
    back_off = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}
    init = {"name": "mesh-init", "ready": False, "state": back_off, "lastState": {"terminated": ended}}
    waiting = {**CREATING, "state": {"waiting": {"reason": "PodInitializing"}}}
    world.round()
    world.pods_come(ready=False)
    status = {"phase": "Pending", "conditions": [TOLD, UNREADY], "containerStatuses": [waiting]}
    put(world, {**status, "initContainerStatuses": [init]})
    world.round()
    assert said(world, "Serving") == ("False", "CrashLooping")
    assert said(world) == ("False", "CrashLooping")
    serving = told(world, "Serving")
    assert serving is not None
    assert "container mesh-init of pod" in serving.message
    assert "iptables: Permission denied" in serving.message
    done = {"name": "mesh-init", "ready": False, "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}
    put(world, {**status, "initContainerStatuses": [{**done, "lastState": {"terminated": ended}}]})
    world.round()
    assert said(world, "Serving") == ("False", "PodsPending"), "one that ended well after all is no trouble"


WAITS: dict[str, tuple[Finding, dict[str, Any], bool]] = {
    "a turn in a queue": (fails(ConditionType.SCHEDULED, "Queued", "q"), {}, True),
    "weights": (fails(ConditionType.WEIGHTS_READY, "Preparing", "40 %"), {}, True),
    "an engine": (fails(ConditionType.ENGINE_READY, "Building", "b"), {}, True),
    "a rollout": (holds(ConditionType.SERVING, "Serving", "s"), {"verdict": Verdict.ROLLING}, True),
    "pods": (fails(ConditionType.SCHEDULED, "PodsPending", "0 of 1"), {}, False),
    "a large model": (
        fails(ConditionType.SERVING, "Loading", "l"),
        {"slowest": Coming(reason=ConditionReason.LOADING, text="x", since=0.0, patience_seconds=90_000.0)},
        True,
    ),
}


@pytest.mark.parametrize("case", WAITS)
def test_what_takes_as_long_as_it_takes_is_waited_for(world: Any, case: str) -> None:
    finding, more, waited = WAITS[case]
    outcome = Outcome(findings=(finding,), wanted=1, **more)
    world.round()
    observed: Observed = world.observed()

    def condition(kind: str, status: str, reason: str) -> Condition:
        began = format_time(observed.now - 86_400.0)
        return Condition(
            type=kind, status=status, reason=reason, message="", observed_generation=1, last_transition_time=began
        )

    reason = "RollingOut" if finding.status == "True" else finding.reason
    before = (condition(finding.type, finding.status, finding.reason), condition("Progressing", "True", reason))
    live = observed.live
    status = msgspec.structs.replace(live.status, conditions=before)
    seen = replace(observed, deployment=msgspec.structs.replace(live, status=status))
    (found,) = patience.judge(seen, outcome)
    assert (found.status == "True") is waited
    asked = msgspec.structs.replace(seen.live, metadata={**live.metadata, "generation": 2})
    (again,) = patience.judge(replace(seen, deployment=asked), outcome)
    assert again.status == "True", "what is asked anew has its time from then on"


def test_the_round_that_ends_the_waiting_comes_by_itself(world: Any) -> None:
    world.round()
    waits = Outcome(findings=(fails(ConditionType.SCHEDULED, "PodsPending", "0 of 2"),), wanted=2)
    world.now += 100.0
    assert patience.within(world.observed(), waits).look_after_seconds == DEADLINE - 100.0 + 1.0
    sooner = patience.within(world.observed(), replace(waits, look_after_seconds=30.0))
    assert sooner.look_after_seconds == 30.0
    world.now += DEADLINE
    assert patience.within(world.observed(), waits).look_after_seconds is None, "it is told by then"
    assert patience.judge(world.observed(), waits)[0].reason == "ProgressDeadlineExceeded"


def test_once_it_serves_gateways_have_their_time_from_then_on(world: Any) -> None:
    world.round()
    began = format_time(world.now)
    fields = {"status": "False", "message": "", "observedGeneration": 1, "lastTransitionTime": began}
    why = {"Serving": "Loading", "Routable": "NoEndpoint", "Progressing": "ProgressDeadlineExceeded"}
    world.status = {"conditions": [{"type": kind, "reason": reason, **fields} for kind, reason in why.items()]}
    world.now += 86_400.0
    serves = holds(ConditionType.SERVING, "Serving", "1 of 1")
    behind = fails(ConditionType.ROUTABLE, "GatewayBehind", "not confirmed yet")
    (found,) = patience.judge(world.observed(), Outcome(findings=(serves, behind), wanted=1, ready_replicas=1))
    assert (found.status, found.reason) == ("True", "GatewayBehind")
