"""Events of what does not get on, read only then: why a volume is not mounted stands in no status.

Events are read for few objects and rarely: for a pod that has a node and no containers, and for a group or Job that has
no pods, each after a while. Only an object's newest event counts: what went on since has nothing to complain about. And
for a pod of which a container was killed: that a probe failed stands in no status either.
"""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from paddock_core.resources import names

from paddock_operator.decide.causes import UNHEALTHY, is_creating, killed_since
from paddock_operator.errors import ClusterError
from paddock_operator.forgetting import Remembered
from paddock_operator.kinds import LEADER_WORKER_SET, POD
from paddock_operator.observed import Child, EngineJob, Warned, WeightsJob, label_of
from paddock_operator.ports import Clock, Cluster, Manifest
from paddock_operator.times import parse_time

log = logging.getLogger(__name__)

STUCK_SECONDS = 20.0
"""What comes up by itself mostly has done so by then."""
INTERVAL_SECONDS = 25.0
MOST = 4
"""Objects of one deployment that are asked about in a round."""
FORGET_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Stuck:
    """An object that does not get on, and whose events tell why."""

    uid: str
    namespace: str
    about: tuple[tuple[str, str], ...]
    """Fields of `involvedObject`, and their values."""
    killed: float | None = None
    """Where it is asked who killed a container: when that had begun, Unix seconds."""


@dataclass(frozen=True, slots=True)
class _Memory:
    asked_at: float
    answer: Warned | None


class EventBook:
    """Asks about what is stuck, each object at most once an interval. What is remembered can be thrown away."""

    def __init__(self, *, cluster: Cluster, clock: Clock) -> None:
        self._cluster = cluster
        self._clock = clock
        self._known: Remembered[str, _Memory] = Remembered(seconds=FORGET_SECONDS)

    async def ask(self, stuck: Iterable[Stuck]) -> dict[str, Warned]:
        """Uid of each object to its newest event, where that is a warning. Never fails: events may be lost."""
        found: dict[str, Warned] = {}
        for item in list(stuck)[:MOST]:
            answer = await self._answer(item)
            if answer is not None:
                found[item.uid] = answer
        self._known.forget(now=self._clock.boottime())
        return found

    async def _answer(self, item: Stuck) -> Warned | None:
        now, known = self._clock.boottime(), self._known.get(item.uid)
        if known is not None and now - known.asked_at < INTERVAL_SECONDS:
            return known.answer
        try:
            events = await self._cluster.events(namespace=item.namespace, about=dict(item.about))
            answer = newest(events) if item.killed is None else failed_probe(events, since=item.killed)
        except ClusterError as error:
            log.warning("events are not read", extra={"namespace": item.namespace, "error": str(error)})
            answer = None if known is None else known.answer
        self._known[item.uid] = _Memory(asked_at=now, answer=answer)
        return answer


def newest(events: Iterable[Manifest]) -> Warned | None:
    """The newest event if it is a warning."""
    event = max(events, key=_told_at, default=None)
    if event is None or event.get("type") != "Warning":
        return None
    return Warned(reason=str(event.get("reason", "")), message=str(event.get("message", "")))


def failed_probe(events: Iterable[Manifest], *, since: float) -> Warned | None:
    """The probe for which the kubelet killed a container last, in its words, and what that probe found; None where it
    has killed none for that since then."""
    told = sorted((event for event in events if _told_at(event) >= since), key=_told_at)
    killed = next((event for event in reversed(told) if event.get("reason") == "Killing"), None)
    words = "" if killed is None else str(killed.get("message", ""))
    if " probe" not in words:
        # Somebody else ended it: a deletion, a node that shuts down.
        return None
    kind = words.partition(" probe")[0].rpartition(" ")[2]
    probed = [str(event.get("message", "")) for event in told if event.get("reason") == UNHEALTHY]
    found = next((text for text in reversed(probed) if text.lower().startswith(kind.lower())), "")
    return Warned(reason=UNHEALTHY, message=f"{words}: {found}" if found else words)


def of_children(children: Iterable[Child], *, now: float) -> Iterator[Stuck]:
    """Serving pods that have a node and no containers or one that was killed, and groups that lack pods."""
    found = [child for child in children if not child.going]
    pods = [child for child in found if child.kind == POD]
    yield from of_pods((pod.manifest for pod in pods), now=now)
    for pod in pods:
        since = killed_since(pod.manifest)
        if since is not None:
            yield Stuck(pod.uid, pod.namespace, (("uid", pod.uid),), killed=since)
    for group in found:
        if group.kind == LEADER_WORKER_SET and _age(group.manifest["metadata"], now) >= STUCK_SECONDS:
            own = [pod for pod in pods if label_of(pod, names.GROUP) == group.name]
            leader = next((pod for pod in own if label_of(pod, names.WORKER_INDEX) == names.LEADER_INDEX), None)
            if len(own) < group.manifest["spec"]["leaderWorkerTemplate"]["size"]:
                # Its StatefulSets are named after the group, and, for the workers, after the leader.
                name = group.name if leader is None else leader.name
                yield Stuck(group.uid, group.namespace, (("kind", "StatefulSet"), ("name", name)))


def of_jobs(weights: WeightsJob, engines: Iterable[EngineJob], *, now: float) -> Iterator[Stuck]:
    """Pods of Jobs that have a node and no containers, and Jobs that have no pods."""
    jobs = [(engine.job, engine.pods) for engine in engines]
    for job, pods in [*([] if weights.job is None else [(weights.job, weights.pods)]), *jobs]:
        if not (job.get("status") or {}).get("conditions"):
            yield from of_pods(pods, now=now)
            metadata = job["metadata"]
            if not pods and _age(metadata, now) >= STUCK_SECONDS:
                yield Stuck(metadata["uid"], metadata["namespace"], (("uid", metadata["uid"]),))


def of_pods(pods: Iterable[Manifest], *, now: float) -> Iterator[Stuck]:
    """Pods that have had a node for a while and no containers yet."""
    for pod in pods:
        metadata, status = pod["metadata"], pod.get("status") or {}
        since = status.get("startTime")
        if is_creating(pod) and since and now - parse_time(since) >= STUCK_SECONDS:
            yield Stuck(metadata["uid"], metadata["namespace"], (("uid", metadata["uid"]),))


def _age(metadata: dict[str, Any], now: float) -> float:
    created = metadata.get("creationTimestamp")
    return now - parse_time(created) if created else 0.0


def _told_at(event: Manifest) -> float:
    """When it was told last; writers of events fill in different fields."""
    series = (event.get("series") or {}).get("lastObservedTime")
    times = (series, event.get("lastTimestamp"), event.get("eventTime"), event.get("firstTimestamp"))
    return max((parse_time(time) for time in times if time), default=0.0)
