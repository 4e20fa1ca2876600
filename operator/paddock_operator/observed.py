"""What one round sees: everything that the decision may know, gathered before it is made."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from paddock_core.catalog.loader import Catalog
from paddock_core.catalog.types import ModelEntry
from paddock_core.licensing.lineage import resolve
from paddock_core.planning.types import Inventory
from paddock_core.policy.documents import Tenant
from paddock_core.resources import names
from paddock_core.resources.llamadeployment import FINALIZER, BenchmarkStatus, LlamaDeployment, Status, WeightsStatus

from paddock_operator.decide.node_faults import NO_FAULTS, NodeFaults
from paddock_operator.decide.rollout.types import Health
from paddock_operator.decide.scaling_advice import Demand
from paddock_operator.gateways import UNKNOWN, Gateways
from paddock_operator.kinds import POD, Kind
from paddock_operator.ports import Key, Manifest, Policy
from paddock_operator.times import parse_time

TIMES = ("At", "Since", "Until")
"""How the names of fields end that hold a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """An object that belongs to the deployment."""

    kind: Kind
    manifest: Manifest

    @property
    def name(self) -> str:
        return str(self.manifest["metadata"]["name"])

    @property
    def namespace(self) -> str:
        return str(self.manifest["metadata"]["namespace"])

    @property
    def uid(self) -> str:
        return str(self.manifest["metadata"]["uid"])

    @property
    def going(self) -> bool:
        return "deletionTimestamp" in self.manifest["metadata"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsJob:
    """The weights Job of the deployment's model, and its pods."""

    job: Manifest | None
    pods: tuple[Manifest, ...] = ()
    progress: WeightsStatus | None = None
    """What the pod that fetches says of it, as far as it answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineJob:
    """A Job that compiles an engine of the deployment's model, and its pods."""

    job: Manifest
    pods: tuple[Manifest, ...] = ()

    @property
    def name(self) -> str:
        return str(self.job["metadata"]["name"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned:
    """The newest Event about an object that does not get on."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Charged:
    """GPUs of the tenant that are spoken for."""

    granted: int = 0
    """To this deployment."""
    others: int = 0
    """To the tenant's other deployments, and set aside for those that have waited longer."""


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """One look at a LlamaDeployment and all that bears on it. `problem` says why its specification makes no sense."""

    key: Key
    now: float
    catalog: Catalog
    policy: Policy
    inventory: Inventory = msgspec.field(default_factory=Inventory)
    apis: frozenset[Kind] = frozenset()
    """Which of the kinds that a cluster may lack this one has."""
    deployment: LlamaDeployment | None = None
    problem: str | None = None
    children: tuple[Child, ...] = ()
    weights: WeightsJob = WeightsJob(job=None)
    engines: tuple[EngineJob, ...] = ()
    probes: dict[str, str | None] = msgspec.field(default_factory=dict)
    """Uid of each ready pod to None if it has generated a token, else what went wrong."""
    silent: Mapping[str, float] = msgspec.field(default_factory=dict)
    """Uid of a ready pod to the seconds since its first probe that failed, with no answer since, as far as this process
    knows; without those that answer or are not asked yet. Empty as long as the probes are doubted, or most pods are
    silent at once."""
    doubted: int = 0
    """Pods that count as answering though their probes fail, since those are doubted."""
    probe_after_seconds: float | None = None
    """In how many seconds the next of the pods that do not answer is to be asked; None where none is."""
    warned: dict[str, Warned] = msgspec.field(default_factory=dict)
    """Uid of what is stuck (pod, group, Job) to its newest Event, where that is a warning."""
    faults: NodeFaults = NO_FAULTS
    """What is wrong with nodes."""
    gateways: Gateways = UNKNOWN
    """What gateways tell of it; `demand` and `health` are made from this."""
    demand: Demand | None = None
    """What is asked of it, by all gateways together; None where none told lately."""
    health: Mapping[str, Health] = msgspec.field(default_factory=dict)
    """How each revision answered lately, by its name."""
    kv_use: Mapping[str, float] = msgspec.field(default_factory=dict)
    """Uid of a pod that answers to the used part of its key-value cache."""
    benchmarks: Mapping[str, BenchmarkStatus] = msgspec.field(default_factory=dict)
    """How revisions did when they were tried, by name, where that was heard since the status was written."""
    benchmarked: bool = False
    """True where the first copy of a revision is tried."""
    charged: Charged = Charged()
    """Looked up last: what is decided from it is booked before anything else happens."""

    @property
    def live(self) -> LlamaDeployment:
        """The object. Raises LookupError if it is gone; judges are only asked about one that is there."""
        if self.deployment is None:
            raise LookupError(f"{self.key} is gone")
        return self.deployment

    @property
    def metadata(self) -> dict[str, Any]:
        return {} if self.deployment is None else self.deployment.metadata

    @property
    def uid(self) -> str:
        return str(self.metadata.get("uid", ""))

    @property
    def generation(self) -> int:
        return int(self.metadata.get("generation", 0))

    @property
    def deleting(self) -> bool:
        return "deletionTimestamp" in self.metadata

    @property
    def has_finalizer(self) -> bool:
        return FINALIZER in self.metadata.get("finalizers", ())

    @property
    def tenant(self) -> Tenant | None:
        """The tenant that owns the namespace."""
        return self.policy.view.namespace_tenant(self.key.namespace)

    @property
    def model(self) -> ModelEntry | None:
        """The model that is asked for, of the catalogue or registered; None if it, or what it was made from, is not
        known."""
        return resolve(model=self.live.spec.model.id, registered=self.policy.view.models, catalog=self.catalog)

    def child(self, kind: Kind, name: str) -> Child | None:
        """One child by kind and name."""
        return next((child for child in self.children if child.kind == kind and child.name == name), None)

    def pods(self) -> list[Child]:
        """The serving pods, in the order of their names."""
        return sorted((child for child in self.children if child.kind == POD), key=lambda pod: pod.name)

    def leaders(self) -> list[Child]:
        """The pods that answer: of a group its leader alone."""
        return [pod for pod in self.pods() if label_of(pod, names.WORKER_INDEX) in ("", names.LEADER_INDEX)]


def label_of(child: Child, label: str) -> str:
    """The value of a label; empty where it has none."""
    return str((child.manifest["metadata"].get("labels") or {}).get(label, ""))


def parse(document: Manifest) -> tuple[LlamaDeployment, str | None]:
    """A LlamaDeployment from its document, and what is wrong with its specification, if anything.

    The schema refuses nonsense before it is stored; but the schema may be older or newer than this program. So may the
    operator that wrote the status: what cannot be read of it is not known, which makes no specification wrong.
    """
    document = _timed(document)
    try:
        return msgspec.convert(document, LlamaDeployment), None
    except msgspec.ValidationError:
        document = {**document, "status": _readable(document.get("status") or {})}
    try:
        return msgspec.convert(document, LlamaDeployment), None
    except msgspec.ValidationError as error:
        # The status stays: it says whom gateways ask, so that what ran is drained before it goes.
        bare = {"metadata": document["metadata"], "spec": {"model": {"id": "?"}}, "status": document["status"]}
        return msgspec.convert(bare, LlamaDeployment), str(error)


def _readable(status: Manifest) -> Manifest:
    """The parts of a status that this program can read."""
    found = {}
    for name, value in status.items():
        with contextlib.suppress(msgspec.ValidationError):
            msgspec.convert({name: value}, Status)
            found[name] = value
    return found


def _timed(document: Manifest) -> Manifest:
    """The document without times that are none, which the schema has as texts: somebody wrote the status by hand. What
    is remembered of a copy goes as a whole: one without the time of its next try would count as given up."""
    status = document.get("status")
    if not isinstance(status, dict):
        return document
    parts = {name: value for name in ("scaling", "rollout") if isinstance(value := status.get(name), dict)}
    kept: Manifest = {name: {k: v for k, v in part.items() if _is_read(k, v)} for name, part in parts.items()}
    copies = status.get("copies")
    if isinstance(copies, list):
        kept["copies"] = [item for item in copies if not isinstance(item, dict) or _is_timed(item)]
    return {**document, "status": {**status, **kept}} if kept else document


def _is_timed(record: Manifest) -> bool:
    left = record.get("evidence")
    told = [*record.items(), *(left.items() if isinstance(left, dict) else ())]
    return all(_is_read(key, value) for key, value in told)


def _is_read(key: str, value: object) -> bool:
    """False for a text that should be a time and is none."""
    if not value or not isinstance(value, str) or not (key == "at" or key.endswith(TIMES)):
        return True
    try:
        parse_time(value)
    except (ValueError, OverflowError):
        return False
    return True
