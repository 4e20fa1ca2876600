"""What is only waited for is told as it is, and after a limit as what does not get on, by rounds of its own."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from msgspec import structs
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
    seen = structs.replace(observed, deployment=msgspec.structs.replace(live, status=status))
    (found,) = patience.judge(seen, outcome)
    assert (found.status == "True") is waited
    asked = msgspec.structs.replace(seen.live, metadata={**live.metadata, "generation": 2})
    (again,) = patience.judge(structs.replace(seen, deployment=asked), outcome)
    assert again.status == "True", "what is asked anew has its time from then on"


def test_the_round_that_ends_the_waiting_comes_by_itself(world: Any) -> None:
    world.round()
    waits = Outcome(findings=(fails(ConditionType.SCHEDULED, "PodsPending", "0 of 2"),), wanted=2)
    world.now += 100.0
    assert patience.within(world.observed(), waits).look_after_seconds == DEADLINE - 100.0 + 1.0
    sooner = patience.within(world.observed(), structs.replace(waits, look_after_seconds=30.0))
    assert sooner.look_after_seconds == 30.0
    later = patience.within(world.observed(), structs.replace(waits, look_after_seconds=9000.0))
    assert later.look_after_seconds == DEADLINE - 100.0 + 1.0
    gone = structs.replace(world.observed(), deployment=None)
    assert patience.within(gone, waits) == waits
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


def long_after(world: Any, outcome: Outcome, *, before: str, ago: float, status: str = "True") -> Observed:
    """A look so long after all that the outcome tells has become so, and Progressing with it."""
    world.round()
    world.now += 10 * 86_400.0
    observed: Observed = world.observed()
    known = [(item.type, item.status, item.reason) for item in outcome.findings]
    known.append((ConditionType.PROGRESSING, status, before))
    when = format_time(observed.now - ago)
    conditions = tuple(
        Condition(type=kind, status=value, reason=why, message="", observed_generation=1, last_transition_time=when)
        for kind, value, why in known
    )
    live = msgspec.structs.replace(
        observed.live, status=msgspec.structs.replace(observed.live.status, conditions=conditions)
    )
    return structs.replace(observed, deployment=live)


SLOW = Coming(reason=ConditionReason.LOADING, text="pod p", since=0.0, patience_seconds=5000.0)
LIMITS: dict[str, tuple[Outcome, str, float]] = {
    "a deletion": (Outcome(findings=(fails(ConditionType.ACCEPTED, "Deleting", ""),)), "Deleting", 172_800.0),
    "a drain": (Outcome(findings=(fails(ConditionType.SERVING, "Draining", ""),)), "Draining", 172_800.0),
    "pods": (Outcome(findings=(fails(ConditionType.SERVING, "PodsPending", ""),), slowest=SLOW), "PodsPending", 5000.0),
    "weights that load": (Outcome(findings=(fails(ConditionType.SERVING, "Loading", ""),), slowest=SLOW), "Loading",
                          5000.0),
    "another copy": (Outcome(findings=(holds(ConditionType.SERVING, "Serving", ""),), wanted=2, slowest=SLOW),
                     "RollingOut", 5000.0),
    "a gateway": (Outcome(findings=(fails(ConditionType.ROUTABLE, "GatewayBehind", "g"),), slowest=SLOW),
                  "GatewayBehind", 600.0),
    "a copy of which nothing is known": (Outcome(findings=(fails(ConditionType.SERVING, "Loading", ""),)), "Loading",
                                         600.0),
}  # fmt: skip


@pytest.mark.parametrize("case", LIMITS)
def test_each_thing_that_is_waited_for_has_its_time_and_not_more(world: Any, case: str) -> None:
    outcome, reason, limit = LIMITS[case]
    in_time = long_after(world, outcome, before=reason, ago=limit)
    (found,) = patience.judge(in_time, outcome)
    assert (found.status, found.reason) == ("True", reason)
    assert patience.seconds_left(in_time, outcome) == 1.0
    late = long_after(world, outcome, before=reason, ago=limit + 1)
    (found,) = patience.judge(late, outcome)
    assert (found.status, found.reason) == EXCEEDED
    assert f"{reason} for more than {limit:.0f} s" in found.message
    assert found.message.endswith("It is still waited for")
    assert ("pod p" in found.message) is (limit == 5000.0), "what a copy lacks is told where copies are waited for"
    assert patience.seconds_left(late, outcome) is None


@pytest.mark.parametrize(
    ("before", "told_now"),
    [("PodsPending", "ProgressDeadlineExceeded"), ("ProgressDeadlineExceeded", "ProgressDeadlineExceeded"),
     ("CrashLooping", "PodsPending")],
)  # fmt: skip
def test_only_what_did_not_get_on_for_another_reason_has_its_time_anew(world: Any, before: str, told_now: str) -> None:
    outcome = Outcome(findings=(fails(ConditionType.SERVING, "PodsPending", ""),), wanted=1)
    status = "True" if before == "PodsPending" else "False"
    found = patience.judge(long_after(world, outcome, before=before, status=status, ago=86_400.0), outcome)
    assert [item.reason for item in found] == [told_now]


PENDING = fails(ConditionType.SERVING, "PodsPending", "")
DAY = 86_400.0


def reasons(world: Any, outcome: Outcome, *, before: str = "PodsPending", status: str = "True") -> list[str]:
    """What Progressing says a day after all was told as the outcome tells it."""
    return [
        item.reason
        for item in patience.judge(long_after(world, outcome, before=before, status=status, ago=DAY), outcome)
    ]


def test_what_has_failed_is_told_as_that_and_not_waited_for(world: Any) -> None:
    outcome = Outcome(findings=(fails(ConditionType.SERVING, "CrashLooping", ""),), wanted=1)
    assert reasons(world, outcome) == ["CrashLooping"]
    assert patience.seconds_left(long_after(world, outcome, before="CrashLooping", ago=10.0), outcome) is None


def test_what_has_its_own_time_keeps_it_in_a_rollout_too(world: Any) -> None:
    assert reasons(world, Outcome(findings=(PENDING,), wanted=1, verdict=Verdict.ROLLING)) == [
        "ProgressDeadlineExceeded"
    ]


def test_a_probe_that_is_shorter_than_the_deadline_takes_nothing_from_it(world: Any) -> None:
    quick = Outcome(findings=(PENDING,), wanted=1, slowest=replace(SLOW, patience_seconds=30.0))
    left = patience.seconds_left(long_after(world, quick, before="PodsPending", ago=100.0), quick)
    assert left == DEADLINE - 100.0 + 1.0


def test_other_conditions_that_change_meanwhile_give_no_time(world: Any) -> None:
    observed = long_after(world, Outcome(findings=(PENDING,)), before="PodsPending", ago=DAY)
    more = Outcome(findings=(holds(ConditionType.QUOTA_AVAILABLE, "QuotaAvailable", ""), PENDING), wanted=1)
    assert [item.reason for item in patience.judge(observed, more)] == ["ProgressDeadlineExceeded"]


def test_once_told_it_stays_told_though_nothing_else_is_known_of_it(world: Any) -> None:
    told_before = {"before": "ProgressDeadlineExceeded", "status": "False"}
    assert reasons(world, Outcome(wanted=1), **told_before) == ["ProgressDeadlineExceeded"]


def test_a_copy_that_is_lost_beside_others_is_told_with_what_degrades(world: Any) -> None:
    findings = (
        holds(ConditionType.SERVING, "Serving", ""),
        holds(ConditionType.DEGRADED, "NodeLost", "node n is silent"),
    )
    outcome = Outcome(findings=findings, wanted=2, ready_replicas=1)
    (found,) = patience.judge(long_after(world, outcome, before="NodeLost", ago=DAY), outcome)
    assert found.reason == "ProgressDeadlineExceeded"
    assert "the condition Degraded: node n is silent" in found.message


def test_what_happens_to_copies_gives_a_gateway_no_time(world: Any) -> None:
    behind = Outcome(findings=(fails(ConditionType.ROUTABLE, "GatewayBehind", "g"),), wanted=1)
    observed = long_after(world, behind, before="GatewayBehind", ago=DAY)
    moving = structs.replace(behind, slowest=replace(SLOW, since=observed.now))
    assert [item.reason for item in patience.judge(observed, moving)] == ["ProgressDeadlineExceeded"]


def test_what_gets_on_since_a_while_has_its_time_from_then_on(world: Any) -> None:
    outcome = Outcome(findings=(PENDING,), wanted=1)
    observed = long_after(world, outcome, before="PodsPending", ago=DAY)
    began = format_time(observed.now - 100.0)
    conditions = tuple(
        msgspec.structs.replace(item, last_transition_time=began) if item.type == "Progressing" else item
        for item in observed.live.status.conditions
    )
    status = msgspec.structs.replace(observed.live.status, conditions=conditions)
    seen = structs.replace(observed, deployment=msgspec.structs.replace(observed.live, status=status))
    assert patience.seconds_left(seen, outcome) == DEADLINE - 100.0 + 1.0
