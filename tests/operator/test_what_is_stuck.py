"""What does not get on and says so in no status: its Events, read from a real API server, become its cause."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from paddock_core.resources import names
from paddock_operator.adapters.clock import SystemClock
from paddock_operator.adapters.cluster import LightkubeCluster, connect
from paddock_operator.decide.causes import root_cause
from paddock_operator.errors import ClusterError
from paddock_operator.kinds import LEADER_WORKER_SET, POD
from paddock_operator.observed import Child, EngineJob, Warned, WeightsJob
from paddock_operator.stuck import (
    INTERVAL_SECONDS,
    EventBook,
    Stuck,
    failed_probe,
    newest,
    of_children,
    of_jobs,
    of_pods,
)
from paddock_operator.times import format_time, parse_time

from tests.operator.clocks import Clock

START = "2026-01-01T00:00:00Z"
LATE = parse_time(START) + 60.0
EARLY = parse_time(START) + 5.0
NAMESPACE = "stuck"


def creating(uid: str = "p", *, reason: str = "ContainerCreating") -> dict[str, Any]:
    status = {"startTime": START, "containerStatuses": [{"name": "triton", "state": {"waiting": {"reason": reason}}}]}
    return {"metadata": {"name": uid, "namespace": NAMESPACE, "uid": uid}, "status": status}


def told(reason: str, at: str, *, kind: str = "Warning", **more: Any) -> dict[str, Any]:
    return {"reason": reason, "message": f"words of {reason}", "type": kind, "lastTimestamp": at, **more}


@pytest.mark.parametrize(
    ("reason", "cause"),
    [
        ("FailedMount", "VolumeNotMounted"),
        ("FailedAttachVolume", "VolumeNotMounted"),
        ("FailedCreatePodSandBox", "PodNotStarted"),
        ("FailedPrepareDynamicResources", "PodNotStarted"),
        ("Unhealthy", None),
    ],
)
def test_a_warning_about_a_stuck_pod_is_its_cause(reason: str, cause: str | None) -> None:
    found = root_cause([creating()], warned={"p": Warned(reason=reason, message='secret "x" not found')})
    assert (found and found.reason) == cause
    if found is not None:
        assert found.message == f'p: {reason}: secret "x" not found'


def test_only_what_has_had_a_node_for_a_while_and_no_containers_is_stuck() -> None:
    assert [item.uid for item in of_pods([creating()], now=LATE)] == ["p"]
    assert list(of_pods([creating()], now=EARLY)) == []
    assert list(of_pods([creating(reason="ImagePullBackOff")], now=LATE)) == []


def test_the_newest_event_decides() -> None:
    mount = told("FailedMount", "2026-01-01T00:00:10Z")
    pulling = told("Pulling", "2026-01-01T00:00:20Z", kind="Normal")
    series = told("FailedMount", START, series={"count": 3, "lastObservedTime": "2026-01-01T00:00:30.000000Z"})
    assert newest([]) is None
    assert newest([mount, pulling]) is None
    assert newest([mount, pulling, series]) == Warned(reason="FailedMount", message="words of FailedMount")
    assert newest([{**mount, "lastTimestamp": None, "eventTime": START}]) is not None


def group(*pods: int, size: int = 2) -> tuple[Child, ...]:
    metadata = {"name": "g", "namespace": NAMESPACE, "uid": "u", "creationTimestamp": START}
    spec = {"leaderWorkerTemplate": {"size": size}}
    made = [Child(kind=LEADER_WORKER_SET, manifest={"metadata": metadata, "spec": spec})]
    for index in pods:
        labels = {names.GROUP: "g", names.WORKER_INDEX: str(index)}
        name = f"g-0-{index}" if index else "g-0"
        made.append(
            Child(
                kind=POD, manifest={"metadata": {"name": name, "namespace": NAMESPACE, "uid": name, "labels": labels}}
            )
        )
    return tuple(made)


def test_a_group_that_lacks_pods_is_asked_about_by_what_makes_them() -> None:
    assert [dict(item.about) for item in of_children(group(), now=LATE)] == [{"kind": "StatefulSet", "name": "g"}]
    assert [dict(item.about) for item in of_children(group(0), now=LATE)] == [{"kind": "StatefulSet", "name": "g-0"}]
    assert list(of_children(group(0, 1), now=LATE)) == []
    assert list(of_children(group(), now=EARLY)) == []


def test_a_job_without_pods_is_asked_about_until_it_ends() -> None:
    metadata = {"name": "j", "namespace": NAMESPACE, "uid": "j", "creationTimestamp": START}
    open_job: dict[str, Any] = {"metadata": metadata, "status": {}}
    over = {**open_job, "status": {"conditions": [{"type": "Failed", "status": "True"}]}}
    assert [item.uid for item in of_jobs(WeightsJob(job=open_job), (), now=LATE)] == ["j"]
    assert [item.uid for item in of_jobs(WeightsJob(job=None), [EngineJob(job=open_job)], now=LATE)] == ["j"]
    assert [item.uid for item in of_jobs(WeightsJob(job=open_job, pods=(creating(),)), (), now=LATE)] == ["p"]
    assert list(of_jobs(WeightsJob(job=over), (), now=LATE)) == []
    assert list(of_jobs(WeightsJob(job=open_job), (), now=EARLY)) == []


def killed(code: int = 137, *, words: str = "", reason: str = "Error", ready: bool = False) -> dict[str, Any]:
    ended = {"exitCode": code, "reason": reason, "message": words, "startedAt": START}
    status = {"name": "triton", "ready": ready, "state": {"running": {}}, "lastState": {"terminated": ended}}
    metadata = {"name": "p", "namespace": NAMESPACE, "uid": "p"}
    return {"metadata": metadata, "status": {"startTime": START, "containerStatuses": [status]}}


ENDED_BY = "Container triton failed startup probe, will be restarted"


def probed(kind: str, at: str) -> dict[str, Any]:
    return {**told("Unhealthy", at), "message": f"{kind} probe failed: HTTP probe failed with statuscode: 503"}


def ended_by(words: str, at: str) -> dict[str, Any]:
    return {**told("Killing", at, kind="Normal"), "message": words}


@pytest.mark.parametrize(
    ("pod", "asked"),
    [
        (killed(), True),
        (killed(143, words="the last line of its log"), True),
        (killed(1), False),
        (killed(reason="OOMKilled"), False),
        (killed(words="EnvironmentNotReady: no mpirun in this image"), False),
        (killed(ready=True), False),
    ],
    ids=["killed", "ended", "failed", "out of memory", "a reason of its own", "ready again"],
)
def test_of_a_container_that_was_killed_it_is_asked_who_did(pod: dict[str, Any], asked: bool) -> None:
    found = list(of_children([Child(kind=POD, manifest=pod)], now=LATE))
    assert found == ([Stuck("p", NAMESPACE, (("uid", "p"),), killed=parse_time(START))] if asked else [])


def test_a_probe_that_failed_is_told_with_what_it_found() -> None:
    since = parse_time(START)
    late, later, last = (f"2026-01-01T00:0{minute}:00Z" for minute in (1, 2, 3))
    events = [probed("Startup", late), ended_by(ENDED_BY, later), probed("Liveness", late), told("BackOff", last)]
    found = failed_probe(events, since=since)
    text = f"{ENDED_BY}: Startup probe failed: HTTP probe failed with statuscode: 503"
    assert found == Warned(reason="Unhealthy", message=text)
    assert failed_probe([ended_by(ENDED_BY, later)], since=since) == Warned(reason="Unhealthy", message=ENDED_BY)
    assert failed_probe(events, since=parse_time(last)) is None, "that was of the run before"
    assert failed_probe([*events, ended_by("Stopping container triton", last)], since=since) is None
    assert failed_probe([probed("Startup", late)], since=since) is None, "that alone kills nobody"


def test_the_probe_stands_in_the_cause_of_what_it_killed() -> None:
    event = Warned(reason="Unhealthy", message=ENDED_BY)
    cause = root_cause([killed()], warned={"p": event})
    assert cause is not None
    assert cause.reason == "CrashLooping"
    assert cause.message == (
        f"container triton of pod p: {ENDED_BY}; it ended with exit code 137 (Error) and left no words: read its log"
    )
    failed = root_cause([killed(1, words="no such file")], warned={"p": event})
    assert failed is not None
    assert failed.message == "container triton of pod p: ended with exit code 1 (Error): no such file"


class Failing:
    """An API server that answers at first and then no more."""

    def __init__(self) -> None:
        self.asked = 0

    async def events(self, *, namespace: str, about: Mapping[str, str]) -> tuple[dict[str, Any], ...]:
        self.asked += 1
        if self.asked > 1:
            raise ClusterError("the API server is away")
        return (told("FailedMount", START),)


async def test_events_are_asked_for_once_an_interval_and_their_loss_changes_nothing() -> None:
    cluster, clock = Failing(), Clock()
    book = EventBook(cluster=cluster, clock=clock)  # type: ignore[arg-type]
    item = Stuck("p", NAMESPACE, (("uid", "p"),))
    expected = {"p": Warned(reason="FailedMount", message="words of FailedMount")}
    assert await book.ask([item]) == expected
    assert await book.ask([item]) == expected
    assert cluster.asked == 1
    clock.boot += INTERVAL_SECONDS
    assert await book.ask([item]) == expected
    assert cluster.asked == 2
    assert await book.ask([]) == {}


@pytest.fixture(scope="module")
def events(api: Any) -> Iterator[None]:
    """Events of two objects, as a kubelet and a controller write them."""
    api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    about = ({"kind": "Pod", "name": "a", "uid": "uid-a"}, {"kind": "StatefulSet", "name": "g", "uid": "uid-g"})
    for reason, thing in zip(("FailedMount", "FailedCreate"), about, strict=True):
        done = api.apply(
            {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {"namespace": NAMESPACE, "name": reason.lower()},
                "involvedObject": {"apiVersion": "v1", "namespace": NAMESPACE, **thing},
                "reason": reason,
                "message": f"words of {reason}",
                "type": "Warning",
                "lastTimestamp": format_time(SystemClock().now()),
            }
        )
        assert done.returncode == 0, done.stderr
    yield
    api.kubectl("delete", "events", "--all", "-n", NAMESPACE)


async def test_the_api_server_picks_the_events_of_one_object(settings: Any, events: None) -> None:
    real = LightkubeCluster(connect(settings.kubeconfig), may_write=lambda: None)
    try:
        stuck = [
            Stuck("uid-a", NAMESPACE, (("uid", "uid-a"),)),
            Stuck("uid-g", NAMESPACE, (("kind", "StatefulSet"), ("name", "g"))),
            Stuck("uid-b", NAMESPACE, (("uid", "uid-b"),)),
        ]
        found = await EventBook(cluster=real, clock=SystemClock()).ask(stuck)
    finally:
        await real.close()
    assert {uid: item.reason for uid, item in found.items()} == {"uid-a": "FailedMount", "uid-g": "FailedCreate"}
