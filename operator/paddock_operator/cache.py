"""The caches of one operator: children of all kinds, weights Jobs, GPU nodes."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

import msgspec
from paddock_core.planning.gpus import GPU_RESOURCE, inventory_of
from paddock_core.planning.types import Inventory
from paddock_core.resources import names
from paddock_core.resources.llamadeployment import PlacementSpec

from paddock_operator.decide.eligible import eligible
from paddock_operator.decide.node_faults import FaultRules, NodeFaults, gpu_amounts
from paddock_operator.kinds import CONFIG_MAP, DEVICE_CLASS, JOB, NODE, OPTIONAL, POD, WATCHED, Kind
from paddock_operator.nodes_book import FaultBook, telling
from paddock_operator.observed import Child, EngineJob, WeightsJob
from paddock_operator.ports import Clock, Cluster, Key, Manifest
from paddock_operator.reflector import RELIST_SECONDS, Reflector, owner_of

MOST_PLACEMENTS = 200
"""So many different placements are remembered at once."""
NODES_FRESH_SECONDS = 90.0
"""Nodes that were not heard of for longer tell nothing; a watch brings a sign of life about every minute."""
GPU_NODES = "nvidia.com/gpu.product"
"""Label selector: nodes on which GPU feature discovery has found something."""


class Cache:
    """Follows everything that carries our label in the platform's own namespaces, and GPU nodes.

    Elsewhere others may write what they like, also our labels: nothing is believed of that.

    `changed` hears of the deployment whose child changed; `job_changed` of a weights Job or its pod, by the Job's name.
    """

    def __init__(
        self,
        *,
        cluster: Cluster,
        clock: Clock,
        changed: Callable[[Key], None],
        job_changed: Callable[[str], None],
        gpu_resource: str = GPU_RESOURCE,
        fault_rules: FaultRules | None = None,
        relist_seconds: float = RELIST_SECONDS,
    ) -> None:
        self.version = 0
        """Another number after every change of an object, but of a node or a device class."""
        self._changed = changed
        self._job_changed = job_changed
        self._reflectors = {
            kind: Reflector(
                cluster=cluster,
                kind=kind,
                clock=clock,
                changed=self._hear,
                keeps=_is_of_the_platform,
                reduce=_REDUCE.get(kind, _slim),
                optional=kind in OPTIONAL,
                relist_seconds=relist_seconds,
            )
            for kind in (*WATCHED, *OPTIONAL)
        }
        self._clock = clock
        rules = fault_rules or FaultRules(resource=gpu_resource)
        self._nodes = Reflector(
            cluster=cluster,
            kind=NODE,
            clock=clock,
            changed=self._hear_node,
            selector=GPU_NODES,
            reduce=partial(_node, rules=rules),
        )
        self._faults = FaultBook(rules=rules)
        self._classes = Reflector(
            cluster=cluster, kind=DEVICE_CLASS, clock=clock, changed=_ignore, selector="", reduce=_bare, optional=True
        )
        self._gpu_resource = gpu_resource
        self._inventories: dict[bytes, Inventory] = {}
        self._inventories_of = (-1, -1, False)
        self._job_pods: dict[str, Manifest] = {}
        """By uid, the pods of Jobs: few, but asked for in every round."""

    def reflectors(self) -> Iterable[Reflector]:
        """Every reflector, to be run and to be watched over."""
        return (*self._reflectors.values(), self._nodes, self._classes)

    def served(self) -> frozenset[Kind]:
        """Which of the kinds that a cluster may lack this one has."""
        return frozenset(kind for kind in OPTIONAL if self._reflectors[kind].served)

    def children(self, key: Key) -> tuple[Child, ...]:
        """All objects of a deployment."""
        return tuple(
            Child(kind=kind, manifest=manifest)
            for kind, reflector in self._reflectors.items()
            for manifest in reflector.of(key)
        )

    def find(self, kind: Kind, *, namespace: str, name: str) -> Manifest | None:
        """One object, or None; always None for kinds that are not cached."""
        reflector = self._reflectors.get(kind)
        return None if reflector is None else reflector.get(namespace=namespace, name=name)

    def gone(self, kind: Kind, *, namespace: str, name: str, uid: str) -> None:
        """Note that an object was not there when it was to be deleted: the event that said so was lost."""
        reflector = self._reflectors.get(kind)
        if reflector is not None:
            reflector.gone(namespace=namespace, name=name, uid=uid)

    def weights(self, job: str) -> WeightsJob:
        """A weights Job and its pods, oldest first."""
        found = self._reflectors[JOB].get(namespace=names.WEIGHTS_NAMESPACE, name=job)
        pods = [pod for pod in self._job_pods.values() if _job_of(pod) == job]
        pods.sort(key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")))
        return WeightsJob(job=found, pods=tuple(pods))

    def engines(self, model: str) -> tuple[EngineJob, ...]:
        """The engine Jobs of a model, as its label says, and their pods."""
        found = [job for job in self.jobs(names.ENGINE) if _labels(job).get(names.MODEL) == model]
        if not found:
            return ()
        pods = self.pods(component=names.ENGINE, model=model)
        return tuple(EngineJob(job=job, pods=tuple(pod for pod in pods if _same_engine(pod, job))) for job in found)

    def jobs(self, component: str) -> list[Manifest]:
        """Jobs on the weights volume: those that fetch (WEIGHTS), compile (ENGINE) or remove (PURGE)."""
        found = self._reflectors[JOB].all()
        return [job for job in found if _labels(job).get(names.COMPONENT) == component]

    def pods(self, *, component: str, model: str) -> list[Manifest]:
        """Pods of a component for a model, as its label says."""
        wanted = {names.COMPONENT: component, names.MODEL: model}.items()
        return [pod for pod in self._reflectors[POD].all() if wanted <= _labels(pod).items()]

    def serving_pods(self) -> list[Manifest]:
        """Every pod that serves a deployment."""
        found = self._reflectors[POD].all()
        return [pod for pod in found if _labels(pod).get(names.COMPONENT) == names.SERVING]

    def owners(self) -> set[Key]:
        """Every deployment that has an object, whether it still exists or not."""
        return {owner for reflector in self._reflectors.values() for owner in reflector.owners()}

    def inventory(self, placement: PlacementSpec) -> Inventory:
        """The cluster's GPUs, as far as pods of this placement may run on them; kept until a node changes."""
        seen = (self._nodes.version, self._classes.version, self._classes.served)
        if seen != self._inventories_of or len(self._inventories) > MOST_PLACEMENTS:
            self._inventories, self._inventories_of = {}, seen
        # Specifications hold dicts: their JSON is the same exactly where they are.
        place = msgspec.json.encode(placement)
        if place not in self._inventories:
            self._inventories[place] = self._counted(placement)
        return self._inventories[place]

    def _counted(self, placement: PlacementSpec) -> Inventory:
        classes = self.device_classes()
        nodes = list(self._nodes.all())
        fitting = [node for node in nodes if eligible(node, placement)]
        found = inventory_of(
            fitting,
            resource=self._gpu_resource,
            device_classes=classes if self._classes.served else None,
        )
        return replace(found, left_out=len(nodes) - len(fitting))

    def device_classes(self) -> tuple[str, ...]:
        """Names of the device classes."""
        return tuple(sorted(str(item["metadata"]["name"]) for item in self._classes.all()))

    def faults(self) -> NodeFaults:
        """What is wrong with nodes now, as far as they were heard of lately."""
        fresh = self._nodes.synced.is_set() and self._nodes.silent_seconds() <= NODES_FRESH_SECONDS
        now = self._clock.boottime()
        return self._faults.look(self._nodes.all(), version=self._nodes.version, now=now, fresh=fresh)

    def _hear_node(self, manifest: Manifest) -> None:
        """Nodes that come or go change no plan that is rendered. What goes wrong with one concerns the pods there."""
        if self._faults.is_news(manifest, now=self._clock.boottime()):
            name = manifest["metadata"]["name"]
            for pod in self.serving_pods():
                if (pod.get("spec") or {}).get("nodeName") == name:
                    self._hear(pod)

    def _hear(self, manifest: Manifest) -> None:
        self.version += 1
        labels = _labels(manifest)
        if _is_of_job(manifest):
            self._note_pod(manifest)
        namespace, name = labels.get(names.DEPLOYMENT_NAMESPACE), labels.get(names.DEPLOYMENT_NAME)
        if namespace and name:
            self._changed(Key(namespace, name))
        elif labels.get(names.COMPONENT) == names.SERVING:
            self._hear_of_all(str(manifest["metadata"].get("namespace", "")))
        elif labels.get(names.COMPONENT) in (names.WEIGHTS, names.ENGINE) and names.MODEL_DIGEST in labels:
            self._job_changed(names.weights_job_name(labels[names.MODEL_DIGEST]))

    def _hear_of_all(self, namespace: str) -> None:
        """What all deployments of a serving namespace have in common changed: each of them puts it back."""
        revisions = self._reflectors[CONFIG_MAP].all()
        for key in {owner_of(item) for item in revisions if item["metadata"]["namespace"] == namespace}:
            if key is not None:
                self._changed(key)

    def _note_pod(self, pod: Manifest) -> None:
        metadata = pod["metadata"]
        if self.find(POD, namespace=metadata["namespace"], name=metadata["name"]) is pod:
            self._job_pods[metadata["uid"]] = pod
        else:
            self._job_pods.pop(metadata["uid"], None)


def _is_of_the_platform(manifest: Manifest) -> bool:
    """True for what lies in a namespace where only the platform writes, and for such a namespace itself."""
    metadata = manifest["metadata"]
    return names.is_platforms(str(metadata.get("namespace") or metadata["name"]))


def _is_of_job(manifest: Manifest) -> bool:
    """True for a pod of a Job on the weights volume. Among what is followed only pods have containers as their own."""
    return "containers" in (manifest.get("spec") or {}) and _labels(manifest).get(names.COMPONENT) != names.SERVING


def _labels(manifest: Manifest) -> dict[str, str]:
    return manifest["metadata"].get("labels") or {}


def _same_engine(pod: Manifest, job: Manifest) -> bool:
    return _labels(pod).get(names.ENGINE_KEY) == _labels(job).get(names.ENGINE_KEY)


def _job_of(pod: Manifest) -> str | None:
    labels = pod["metadata"].get("labels") or {}
    digest = labels.get(names.MODEL_DIGEST)
    return names.weights_job_name(digest) if digest and labels.get(names.COMPONENT) == names.WEIGHTS else None


def _ignore(_manifest: Manifest) -> None:
    """Device classes that come or go change no plan that is rendered; who waits for GPUs looks again by itself."""


def _slim(manifest: Manifest) -> Manifest:
    """Without the record of field managers, which is often larger than the object."""
    metadata = {name: value for name, value in manifest["metadata"].items() if name != "managedFields"}
    return {**manifest, "metadata": metadata}


def _bare(manifest: Manifest) -> Manifest:
    """Its name alone."""
    metadata = manifest["metadata"]
    return {"metadata": {"name": metadata["name"], "resourceVersion": metadata["resourceVersion"]}}


def _pod(manifest: Manifest) -> Manifest:
    slim = _slim(manifest)
    containers = [{"resources": item.get("resources") or {}} for item in slim["spec"].get("containers") or ()]
    spec = {"nodeName": slim["spec"].get("nodeName"), "containers": containers}
    if slim["spec"].get("schedulingGates"):
        spec["schedulingGates"] = slim["spec"]["schedulingGates"]
    return {"metadata": slim["metadata"], "spec": spec, "status": slim["status"]}


def _node(manifest: Manifest, *, rules: FaultRules) -> Manifest:
    metadata = manifest["metadata"]
    spec, status = manifest.get("spec") or {}, manifest.get("status") or {}
    return {
        "metadata": {
            "name": metadata["name"],
            "resourceVersion": metadata["resourceVersion"],
            "labels": metadata.get("labels") or {},
        },
        "spec": {"unschedulable": spec.get("unschedulable", False), "taints": spec.get("taints") or []},
        "status": {
            "allocatable": status.get("allocatable") or {},
            "capacity": gpu_amounts(status.get("capacity") or {}, rules=rules),
            "conditions": telling(status.get("conditions") or (), rules=rules),
        },
    }


_REDUCE: dict[Kind, Callable[[Manifest], Manifest]] = {POD: _pod}
