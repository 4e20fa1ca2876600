"""A cluster for decisions alone: what a round decides is carried out at once, and pods come, answer and go as told."""

from collections.abc import Iterable
from typing import Any

import msgspec
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.resources import names
from paddock_core.resources.llamadeployment import Status
from paddock_operator.comparing import contains
from paddock_operator.decide.actions import AddFinalizer, Apply, Delete, RecordResult, RemoveFinalizer
from paddock_operator.decide.desired import decide
from paddock_operator.decide.outcome import Config, Outcome
from paddock_operator.decide.quota import settle
from paddock_operator.kinds import LEADER_WORKER_SET, POD, REPLICA_SET, Kind, kind_of
from paddock_operator.observed import Charged, Child, Observed, WeightsJob, parse
from paddock_operator.ports import Key, Policy
from paddock_operator.report import status_of
from paddock_operator.times import format_time

NOW = 1_800_000_000.0
KEY = Key("acme", "chat")
SERVING = "paddock-serving-acme"
RESULT = {"tokenizer": "sha256:" + "7" * 64, "weights": "b1" * 32, "bytes": 98362432}
WORKLOADS = (REPLICA_SET, LEADER_WORKER_SET)


def weights(**changes: Any) -> WeightsJob:
    """A weights Job that has ended well."""
    text = msgspec.json.encode({**RESULT, **changes}).decode()
    metadata = {"name": "w", "namespace": "paddock-weights", "uid": "j", "annotations": {names.RESULT: text}}
    return WeightsJob(job={"metadata": metadata, "status": {}})


FIELDS_OF_COPIES: dict[str, tuple[str, dict[str, Any], Any]] = {
    "minAvailable": ("two of three are silent", {"replicas": 3}, 2),
    "rollout.strategy": ("a change is new", {}, "DrainFirst"),
    "rollout.maxSurge": ("a change is new", {}, 2),
    "rollout.maxUnavailable": ("a change is new", {}, 1),
    "rollout.steps[].weightPercent": (
        "a canary answers",
        {"rollout": {"strategy": "Canary", "steps": [{"weightPercent": 10, "seconds": 600}]}},
        50,
    ),
    "rollout.steps[].seconds": (
        "a canary answers",
        {"rollout": {"strategy": "Canary", "steps": [{"weightPercent": 10, "seconds": 600}]}},
        1,
    ),
    "rollout.gate.maxErrorPercent": ("a canary fails", {"rollout": {"strategy": "Canary"}}, 90),
    "rollout.gate.maxTtftIncreasePercent": ("a canary is late", {"rollout": {"strategy": "Canary"}}, 1000),
    "rollout.gate.maxThroughputLossPercent": ("a canary is slow", {"rollout": {"strategy": "Canary"}}, 99),
    "rollout.gate.minRequests": ("a canary fails", {"rollout": {"strategy": "Canary"}}, 10000),
    "rollout.deadlineSeconds": ("a change does not come up", {}, 600),
    "rollout.holdSeconds": ("a change is new", {"replicas": 1, "rollout": {"strategy": "DrainFirst"}}, 7),
    "rollout.rollback": ("a change does not come up", {"rollout": {"deadlineSeconds": 600}}, False),
    "maintenance.days": ("other settings", {"maintenance": {"start": "08:00"}}, ["Mon"]),
    "maintenance.start": ("other settings", {"maintenance": {"start": "08:00"}}, "12:00"),
    "maintenance.hours": ("other settings", {"maintenance": {"start": "06:00", "hours": 1}}, 4),
}
"""What copies depend on: a state of the cluster, the specification there, and a value that is decided otherwise."""


class World:
    """One LlamaDeployment and all that belongs to it."""

    def __init__(self, *, config: Config, policy: Policy, spec: dict[str, Any], **seen: Any) -> None:
        self.config = config
        self.policy = policy
        self.spec = spec
        self.seen: dict[str, Any] = {"weights": weights(), **seen}
        self.now = NOW
        self.objects: dict[tuple[Kind, str], dict[str, Any]] = {}
        self.probes: dict[str, str | None] = {}
        self.status: dict[str, Any] = {}
        self.metadata: dict[str, Any] = {"generation": 1, "finalizers": ["paddock.dev/serving-resources"]}
        self.written: list[str] = []
        self.others = 0
        """GPUs of the tenant's other deployments."""
        self._uids = 0

    def observed(self, **changes: Any) -> Observed:
        """One look."""
        own = {"namespace": KEY.namespace, "name": KEY.name, "uid": "u1", "resourceVersion": "5"}
        deployment, problem = parse({"metadata": {**own, **self.metadata}, "spec": self.spec, "status": self.status})
        assert problem is None, problem
        return Observed(
            key=KEY,
            now=self.now,
            catalog=packaged_catalog(),
            policy=self.policy,
            deployment=deployment,
            children=tuple(Child(kind=kind, manifest=item) for (kind, _name), item in self.objects.items()),
            probes=dict(self.probes),
            **{"charged": self.charged(), **self.seen, **changes},
        )

    def charged(self) -> Charged:
        """What the ledger says: it hears of grants by the status."""
        noted = (self.status.get("quota") or {}).get("gpus", 0)
        return Charged(granted=noted, others=self.others)

    def round(self, *, only: int | None = None, **changes: Any) -> Outcome:
        """One round, carried out; of its writes only so many, where that is given, and then no status either."""
        observed = self.observed(**changes)
        outcome = settle(observed, decide(observed, self.config))
        for number, action in enumerate(outcome.actions):
            if only is not None and number >= only:
                return outcome
            self._perform(action)
        self.status = msgspec.to_builtins(status_of(observed, outcome, gateway_url="http://gateway.test"))
        return outcome

    def rounds(self, most: int = 60, *, seconds: float = 5.0) -> Outcome:
        """Rounds, with pods that come up and answer, until nothing changes any more."""
        for _ in range(most):
            before = (self.shape(), self.status)
            outcome = self.round()
            self.pods_come()
            self.now += seconds
            if before == (self.shape(), self.status):
                return outcome
        raise AssertionError(f"it never comes to rest: {self.names()}")

    def shape(self) -> list[tuple[str, str, Any]]:
        """What there is, by kind and name, with what it was made as."""
        return [(kind.name, name, item.get("spec") or item.get("data")) for (kind, name), item in self.objects.items()]

    def names(self, *kinds: Kind) -> list[str]:
        """Names of what there is of these kinds; workloads where none is given."""
        return sorted(name for kind, name in self.objects if kind in (kinds or WORKLOADS))

    def pods_come(self, *, ready: bool = True, answers: str | None = None, but: Iterable[str] = ()) -> None:
        """Controllers make the pods that are missing, and they answer as told; workloads in `but` get none."""
        for (kind, name), item in list(self.objects.items()):
            if kind in WORKLOADS and name not in but:
                owner = {"kind": kind.name, "name": name, "uid": item["metadata"]["uid"], "controller": True}
                for pod, template, labels in _templates(kind, name, item):
                    if (POD, pod) not in self.objects:
                        made = _pod(pod, template, labels, ready=ready, number=self._uids)
                        made["metadata"]["ownerReferences"] = [owner]
                        self._put(POD, pod, made)
                        self.probes[self.objects[POD, pod]["metadata"]["uid"]] = answers

    def pods(self, workload: str) -> list[dict[str, Any]]:
        """Pods of a copy."""
        found = [item for (kind, _name), item in self.objects.items() if kind == POD]
        return [item for item in found if item["metadata"]["labels"].get(names.COPY) == workload]

    def answer(self, workload: str, problem: str | None) -> None:
        """From now on the pods of a copy answer so."""
        for pod in self.pods(workload):
            self.probes[pod["metadata"]["uid"]] = problem

    def parsed(self) -> Status:
        """The status as it was written last."""
        return msgspec.convert(self.status, Status)

    def copy(self) -> "World":
        """Another world of the same state."""
        made = World(config=self.config, policy=self.policy, spec=dict(self.spec))
        made.__dict__.update({**self.__dict__, "objects": dict(self.objects), "probes": dict(self.probes)})
        made.written = []
        return made

    def _perform(self, action: Any) -> None:
        match action:
            case Apply(manifest=manifest):
                kind, name = kind_of(manifest), str(manifest["metadata"]["name"])
                if _is_seen(kind, manifest) and (kind, name) not in self.objects:
                    self.written.append(f"create {kind.name} {name}")
                self._put(kind, name, manifest)
            case Delete(kind=kind, name=name):
                self.written.append(f"delete {kind.name} {name}")
                self.objects.pop((kind, name), None)
                if kind in WORKLOADS:
                    for pod in self.pods(name):
                        self.objects.pop((POD, pod["metadata"]["name"]))
            case RecordResult(kind=kind, name=name, annotation=annotation, result=result) if (
                kind,
                name,
            ) in self.objects:
                there = self.objects[kind, name]
                noted = {**(there["metadata"].get("annotations") or {}), annotation: result}
                self.objects[kind, name] = {**there, "metadata": {**there["metadata"], "annotations": noted}}
            case AddFinalizer():
                self.metadata = {**self.metadata, "finalizers": ["paddock.dev/serving-resources"]}
            case RemoveFinalizer():
                self.metadata = {**self.metadata, "finalizers": []}

    def _put(self, kind: Kind, name: str, manifest: dict[str, Any]) -> None:
        if not _is_seen(kind, manifest):
            return
        self._uids += 1
        there = self.objects.get((kind, name))
        if there is not None and contains(there, manifest):
            # As the executor does: what holds all that was rendered is not applied again, and keeps what it has more.
            return
        made = {"uid": f"uid-{self._uids}", "creationTimestamp": format_time(self.now)}
        kept = made if there is None else {key: there["metadata"][key] for key in made}
        if there is not None and kind == POD:
            return
        self.objects[kind, name] = {**manifest, "metadata": {**manifest["metadata"], **kept}}


def _is_seen(kind: Kind, manifest: dict[str, Any]) -> bool:
    """Secrets are never read, and what a whole namespace shares carries no label of a deployment."""
    return kind.name != "Secret" and names.DEPLOYMENT_NAME in manifest["metadata"].get("labels", {})


def _templates(kind: Kind, name: str, workload: dict[str, Any]) -> list[tuple[str, dict[str, Any], dict[str, str]]]:
    spec = workload["spec"]
    if kind == REPLICA_SET:
        return [(f"{name}-x", spec["template"], {})]
    group = spec["leaderWorkerTemplate"]
    workers = [(f"{name}-0-{number}", group["workerTemplate"]) for number in range(1, group["size"])]
    all_pods = [(f"{name}-0", group["leaderTemplate"]), *workers]
    return [(pod, template, {names.WORKER_INDEX: str(at)}) for at, (pod, template) in enumerate(all_pods)]


def _pod(name: str, template: dict[str, Any], labels: dict[str, str], *, ready: bool, number: int) -> dict[str, Any]:
    own = template["metadata"]
    status = {"conditions": [{"type": "Ready", "status": str(ready)}], "podIP": f"10.0.{number // 250}.{number % 250}"}
    metadata = {**own, "name": name, "namespace": SERVING, "labels": {**own["labels"], **labels}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {**template["spec"], "nodeName": "n"},
        "status": status,
    }
