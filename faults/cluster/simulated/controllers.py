"""What Kubernetes' own controllers, the scheduler and the kubelets do, as far as serving a model needs it.

They act on the store itself: no fault of the API server's touches them. Keyed by what changed, so that a large cluster
costs no more than what moves in it.
"""

import asyncio
import hashlib
import heapq
import itertools
import json
from typing import Any

from paddock_operator.kinds import JOB, LEADER_WORKER_SET, NAMESPACE, NODE, POD, REPLICA_SET
from paddock_operator.ports import Clock, Manifest
from paddock_operator.times import format_time

from faults.cluster.simulated.ownership import is_orphan, settled
from faults.cluster.simulated.scheduling import free_gpus, gpus_of, is_disliked, is_fit
from faults.cluster.simulated.store import Change, Place, Store

START_SECONDS = 20.0
"""From a node to ready: pulling, loading."""
GRACE_SECONDS = 3.0
REFUSE_SECONDS = 2.0
"""From a node to its refusal."""
JOB_SECONDS = 8.0
EVENTS_SECONDS = 3600.0
WEIGHTS_RESULT = json.dumps({"tokenizer": "sha256:" + "7" * 64, "weights": "b1" * 32, "bytes": 98_362_432})
_LWS = "leaderworkerset.sigs.k8s.io/"


class Controllers:
    """One task; `run` never returns."""

    def __init__(self, store: Store, *, clock: Clock) -> None:
        self.store = store
        self.start_seconds = START_SECONDS
        self.grace_seconds = GRACE_SECONDS
        self.lost: set[str] = set()
        """Nodes whose kubelet is gone: pods there neither come up nor end."""
        self.refusing: set[str] = set()
        """Nodes whose kubelet refuses every pod that is none of a Job's."""
        self.unpullable = ""
        """Part of an image's name that no node can pull."""
        self.failing = ""
        """What Jobs leave when they fail; empty: they do not."""
        self.words = WEIGHTS_RESULT
        """What a container of a Job leaves."""
        self._clock = clock
        self._dirty: dict[Place, None] = {}
        self._due: list[tuple[float, Place]] = []
        self._news = asyncio.Event()
        self._times: dict[str, float] = {}
        """When a pod is ready, or gone, by its uid."""
        self._begun: set[tuple[str, str]] = set()
        """Groups that had all their pods once, by uid and index."""
        self._addresses = itertools.count(2)
        store.listeners.append(self._hear)

    async def run(self) -> None:
        """Do what is to be done, whenever something changed or became due."""
        while True:
            self._news.clear()
            while self._due and self._due[0][0] <= self._clock.boottime():
                self._dirty[heapq.heappop(self._due)[1]] = None
            while self._dirty:
                place = next(iter(self._dirty))
                del self._dirty[place]
                self._look(place)
            seconds = self._due[0][0] - self._clock.boottime() if self._due else None
            try:
                async with asyncio.timeout(seconds):
                    await self._news.wait()
            except TimeoutError:
                continue

    def look_again(self) -> None:
        """Something changed that no object tells, such as `start_seconds`."""
        for place in self.store.places():
            self._dirty[place] = None
        self._news.set()

    def _hear(self, change: Change) -> None:
        self._dirty[change.place] = None
        for owner in _owners(change.object) + _owners(change.old):
            for place in self._named(owner, change.place.namespace):
                self._dirty[place] = None
        if change.type == "DELETED":
            uid = str(change.object["metadata"]["uid"])
            self._times.pop(uid, None)
            self._times.pop(f"{uid} gone", None)
            for place in self.store.owned(str(change.object["metadata"]["uid"])):
                self._dirty[place] = None
            if change.place.namespace:
                self._dirty[Place(NAMESPACE, "", change.place.namespace)] = None
        if change.place.kind in (NODE, POD) and (change.place.kind == NODE or change.type == "DELETED"):
            # Room may have come: whoever waits for some looks again.
            for pod in self.store.all(POD):
                if not pod["spec"].get("nodeName"):
                    self._dirty[_place(POD, pod)] = None
        self._news.set()

    def _named(self, owner: Manifest, namespace: str) -> list[Place]:
        kinds = {kind.name: kind for kind in (REPLICA_SET, LEADER_WORKER_SET, JOB)}
        kind = kinds.get(owner["kind"])
        return [] if kind is None else [Place(kind, namespace, owner["name"])]

    def _later(self, place: Place, seconds: float) -> None:
        heapq.heappush(self._due, (self._clock.boottime() + seconds, place))
        self._news.set()

    def _look(self, place: Place) -> None:
        found = self.store.get(place)
        if found is None:
            return
        if is_orphan(self.store, found):
            self.store.delete(place)
            return
        match place.kind.name:
            case "Namespace":
                self._namespace(place, found)
            case "ReplicaSet":
                self._replica_set(place, found)
            case "LeaderWorkerSet":
                self._group(place, found)
            case "Job":
                self._job(place, found)
            case "Pod":
                self._pod(place, found)
            case "Event":
                self._event(place, found)

    def _namespace(self, place: Place, namespace: Manifest) -> None:
        if "deletionTimestamp" not in namespace["metadata"]:
            return
        for other in self.store.places():
            if other.namespace == place.name:
                self.store.delete(other)
        self.store.let_go(place)

    def _event(self, place: Place, event: Manifest) -> None:
        made = event["metadata"]["creationTimestamp"]
        if made <= format_time(self._clock.now() - EVENTS_SECONDS):
            self.store.remove(place)
        else:
            self._later(place, EVENTS_SECONDS + 1.0)

    def _replica_set(self, place: Place, replica_set: Manifest) -> None:
        spec = replica_set["spec"]
        if "deletionTimestamp" in replica_set["metadata"]:
            return
        wanted = int(spec.get("replicas", 1))
        pods = [pod for pod in self._pods_of(replica_set) if not _going(pod)]
        # A pod is never replaced for its template's sake. One that failed stays, and the next is made at once
        # (kubernetes issue 108152).
        right = [pod for pod in pods if not _failed(pod)]
        for pod in right[wanted:]:
            self.store.delete(_place(POD, pod))
        for _ in range(wanted - len(right)):
            name = f"{place.name}-{next(self._addresses):05x}"
            self._make_pod(replica_set, REPLICA_SET, place, name, spec["template"], {})
        self._tell_replica_set(place, replica_set)

    def _tell_replica_set(self, place: Place, replica_set: Manifest) -> None:
        pods = [pod for pod in self._pods_of(replica_set) if not _going(pod) and not _failed(pod)]
        ready = sum(map(_ready, pods))
        counts = {"fullyLabeledReplicas": len(pods), "readyReplicas": ready, "availableReplicas": ready}
        status = {
            "observedGeneration": replica_set["metadata"]["generation"],
            "replicas": len(pods),
            **{name: count for name, count in counts.items() if count},
        }
        self.store.put(place, {**replica_set, "status": status})

    def _group(self, place: Place, group: Manifest) -> None:
        spec = group["spec"]
        if "deletionTimestamp" in group["metadata"]:
            return
        template, pods = spec["leaderWorkerTemplate"], self._pods_of(group)
        size, wanted = int(template.get("size", 1)), int(spec.get("replicas", 1))
        revision = _digest(template)
        for index in range(wanted):
            mine = [pod for pod in pods if pod["metadata"]["labels"].get(f"{_LWS}group-index") == str(index)]
            old = [pod for pod in mine if pod["metadata"]["labels"].get(f"{_LWS}template-revision-hash") != revision]
            begun = (str(group["metadata"]["uid"]), str(index)) in self._begun
            broken = any(map(_failed, mine)) or (0 < len(mine) < size and begun)
            if old or broken or any(map(_going, mine)):
                for pod in mine:
                    self.store.delete(_place(POD, pod))
            elif not mine:
                self._make_group(place, group, index=index, size=size, revision=revision)
        for pod in pods:
            if int(pod["metadata"]["labels"].get(f"{_LWS}group-index", "0")) >= wanted:
                self.store.delete(_place(POD, pod))
        self._tell_group(place, size=size)

    def _make_group(self, place: Place, group: Manifest, *, index: int, size: int, revision: str) -> None:
        template = group["spec"]["leaderWorkerTemplate"]
        for rank in range(size):
            leader = rank == 0
            pod = template.get("leaderTemplate") if leader else None
            name = f"{place.name}-{index}" if leader else f"{place.name}-{index}-{rank}"
            labels = {
                f"{_LWS}name": place.name,
                f"{_LWS}group-index": str(index),
                f"{_LWS}worker-index": str(rank),
                f"{_LWS}template-revision-hash": revision,
            }
            self._make_pod(group, LEADER_WORKER_SET, place, name, pod or template["workerTemplate"], labels)

    def _tell_group(self, place: Place, *, size: int) -> None:
        group = self.store.get(place)
        if group is None:
            return
        pods = [pod for pod in self._pods_of(group) if not _going(pod)]
        groups: dict[str, list[Manifest]] = {}
        for pod in pods:
            groups.setdefault(pod["metadata"]["labels"][f"{_LWS}group-index"], []).append(pod)
        ready = sum(1 for mine in groups.values() if len(mine) == size and all(map(_ready, mine)))
        status = {"replicas": len(groups), "readyReplicas": ready, "updatedReplicas": len(groups)}
        self._begun |= {(str(group["metadata"]["uid"]), index) for index, mine in groups.items() if len(mine) == size}
        self.store.put(place, {**group, "status": status})

    def _job(self, place: Place, job: Manifest) -> None:
        if "deletionTimestamp" in job["metadata"] or _over(job):
            return
        pods = [pod for pod in self._pods_of(job) if not _going(pod)]
        if not pods:
            name = f"{place.name}-{next(self._addresses):05x}"
            self._make_pod(job, JOB, place, name, job["spec"]["template"], {})
        elif _failed(pods[-1]):
            failed = {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}
            failed["lastTransitionTime"] = format_time(self._clock.now())
            self.store.put(place, {**job, "status": {"failed": 1, "conditions": [failed]}})
        elif pods[-1].get("status", {}).get("phase") == "Succeeded":
            now = format_time(self._clock.now())
            conditions = [
                {"type": kind, "status": "True", "lastTransitionTime": now, "lastProbeTime": now}
                for kind in ("SuccessCriteriaMet", "Complete")
            ]
            self.store.put(place, {**job, "status": {"succeeded": 1, "completionTime": now, "conditions": conditions}})

    def _make_pod(
        self, owner: Manifest, kind: Any, place: Place, name: str, template: Manifest, labels: dict[str, str]
    ) -> None:
        metadata = template.get("metadata") or {}
        reference = {"apiVersion": kind.api_version, "kind": kind.name, "name": place.name, "controller": True}
        self.store.put(
            Place(POD, place.namespace, name),
            {
                "metadata": {
                    "labels": {**(metadata.get("labels") or {}), **labels},
                    "annotations": metadata.get("annotations") or {},
                    "ownerReferences": [{**reference, "uid": owner["metadata"]["uid"]}],
                },
                "spec": template["spec"],
                "status": {"phase": "Pending"},
            },
        )

    def _pod(self, place: Place, pod: Manifest) -> None:
        status, spec, uid = pod.get("status") or {}, pod["spec"], str(pod["metadata"]["uid"])
        if spec.get("nodeName") in self.lost:
            return
        if _going(pod):
            ends = self._times.setdefault(f"{uid} gone", self._clock.boottime() + self.grace_seconds)
            if self._clock.boottime() >= ends:
                self.store.remove(place)
            else:
                self._later(place, ends - self._clock.boottime())
            return
        if status.get("phase") in ("Succeeded", "Failed") or not settled(self.store, place, pod):
            return
        if not spec.get("nodeName"):
            self._schedule(place, pod)
        elif "startTime" not in status:
            (self._refuse if spec["nodeName"] in self.refusing and not _is_of_job(pod) else self._start)(place, pod)
        elif self._clock.boottime() >= self._times.get(uid, 0.0):
            self._arrive(place, pod)

    def _schedule(self, place: Place, pod: Manifest) -> None:
        free = free_gpus(self.store.all(NODE), self.store.all(POD))
        fit = [node for node in self.store.all(NODE) if is_fit(pod, node, free=free)]
        if fit:
            # Its last choice comes last; before that the fullest that still has room: whole nodes stay free for copies
            # that need them.
            names = {item["metadata"]["name"]: item for item in fit}
            node = names[min(names, key=lambda name: (is_disliked(pod, name), free[name], name))]
            self.store.put(place, {**pod, "spec": {**pod["spec"], "nodeName": node["metadata"]["name"]}})
            return
        text = f"0/{len(free)} nodes are available: {len(free)} Insufficient nvidia.com/gpu."
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": text}
        if status_condition(pod, "PodScheduled") != "False":
            condition["lastTransitionTime"] = format_time(self._clock.now())
            self.store.put(place, {**pod, "status": {**pod["status"], "conditions": [condition]}})

    def _start(self, place: Place, pod: Manifest) -> None:
        number = next(self._addresses)
        address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
        now = format_time(self._clock.now())
        seconds = JOB_SECONDS if _is_of_job(pod) else self.start_seconds
        conditions = [{"type": "PodScheduled", "status": "True", "lastTransitionTime": now}]
        status = {"phase": "Running", "startTime": now, "podIP": address, "podIPs": [{"ip": address}]}
        self._times[str(pod["metadata"]["uid"])] = self._clock.boottime() + seconds
        self.store.put(place, {**pod, "status": {**status, "conditions": conditions}})
        self._later(place, seconds)

    def _refuse(self, place: Place, pod: Manifest) -> None:
        uid, now = str(pod["metadata"]["uid"]), self._clock.boottime()
        if now < self._times.setdefault(uid, now + REFUSE_SECONDS):
            self._later(place, REFUSE_SECONDS)
            return
        text = "Allocate failed due to no healthy devices present; cannot allocate unhealthy devices"
        at = format_time(self._clock.now())
        status = {"phase": "Failed", "reason": "UnexpectedAdmissionError", "message": text, "startTime": at}
        self.store.put(place, {**pod, "status": status})

    def _arrive(self, place: Place, pod: Manifest) -> None:
        now = format_time(self._clock.now())
        image = str(pod["spec"]["containers"][0].get("image", ""))
        if self.unpullable and self.unpullable in image:
            waits = {"waiting": {"reason": "ImagePullBackOff", "message": f'Back-off pulling image "{image}"'}}
            container = {"name": pod["spec"]["containers"][0]["name"], "state": waits, "ready": False}
            status = {**pod["status"], "containerStatuses": [{**container, "restartCount": 0}]}
            self.store.put(place, {**pod, "status": status})
        elif _is_of_job(pod) and self.failing:
            ended = {"exitCode": 1, "reason": "Error", "message": self.failing, "finishedAt": now}
            container = {"name": pod["spec"]["containers"][0]["name"], "state": {"terminated": ended}, "ready": False}
            status = {**pod["status"], "phase": "Failed", "containerStatuses": [{**container, "restartCount": 0}]}
            self.store.put(place, {**pod, "status": status})
        elif _is_of_job(pod):
            ended = {"exitCode": 0, "reason": "Completed", "message": self.words, "finishedAt": now}
            container = {"name": pod["spec"]["containers"][0]["name"], "state": {"terminated": ended}, "ready": False}
            status = {**pod["status"], "phase": "Succeeded", "containerStatuses": [{**container, "restartCount": 0}]}
            self.store.put(place, {**pod, "status": status})
        elif not _ready(pod):
            conditions = [*pod["status"]["conditions"], {"type": "Ready", "status": "True", "lastTransitionTime": now}]
            containers = [
                {"name": item["name"], "ready": True, "restartCount": 0, "state": {"running": {"startedAt": now}}}
                for item in pod["spec"]["containers"]
            ]
            status = {**pod["status"], "conditions": conditions, "containerStatuses": containers}
            self.store.put(place, {**pod, "status": status})

    def _pods_of(self, owner: Manifest) -> list[Manifest]:
        places = self.store.owned(str(owner["metadata"]["uid"]))
        return [pod for place in places if place.kind == POD and (pod := self.store.get(place)) is not None]


def status_condition(manifest: Manifest, kind: str) -> str:
    """The status of a condition, empty where there is none."""
    found = (manifest.get("status") or {}).get("conditions") or ()
    return next((str(item["status"]) for item in found if item["type"] == kind), "")


def held_gpus(store: Store) -> int:
    """GPUs that pods on nodes hold."""
    return sum(gpus_of(pod) for pod in store.all(POD) if pod["spec"].get("nodeName") and not _over_pod(pod))


def _over_pod(pod: Manifest) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def _owners(manifest: Manifest | None) -> list[Manifest]:
    return [] if manifest is None else list(manifest["metadata"].get("ownerReferences") or ())


def _place(kind: Any, manifest: Manifest) -> Place:
    return Place(kind, manifest["metadata"].get("namespace", ""), manifest["metadata"]["name"])


def _going(manifest: Manifest) -> bool:
    return "deletionTimestamp" in manifest["metadata"]


def _failed(pod: Manifest) -> bool:
    return (pod.get("status") or {}).get("phase") == "Failed"


def _ready(pod: Manifest) -> bool:
    return status_condition(pod, "Ready") == "True"


def _over(job: Manifest) -> bool:
    return "True" in (status_condition(job, "Complete"), status_condition(job, "Failed"))


def _is_of_job(pod: Manifest) -> bool:
    return any(owner["kind"] == JOB.name for owner in pod["metadata"].get("ownerReferences") or ())


def _digest(template: Any) -> str:
    return hashlib.sha256(json.dumps(template, sort_keys=True).encode()).hexdigest()[:10]
