"""Models on GPUs as the operator would render them."""

from dataclasses import replace
from typing import Any

import yaml
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.planning.fit import plan
from paddock_core.planning.gpus import hypothetical
from paddock_core.planning.types import Engine, Inventory, Plan, Refusal
from paddock_core.resources import names
from paddock_core.resources.llamadeployment import EngineSpec, ModelSpec, ParallelismSpec, PlacementSpec, Spec
from paddock_core.serving.contract import MODEL_NAME
from paddock_operator.decide import revisions
from paddock_operator.decide.planned import ask_of
from paddock_operator.kinds import OPTIONAL
from paddock_operator.manifests.render import Rendering, render_serving
from paddock_operator.networks import offered
from paddock_operator.ports import Key, Manifest

from tests.operator import platforms

MODELS = ("llama-3.1-8b-instruct", "llama-3.1-70b-instruct", "llama-3.1-405b-instruct")
GPUS = ("H100-80", "H200-141", "A100-80", "B200-180", "L40S-48")
PRECISIONS = {"bf16": "LLMAPI", "fp8": "LLMAPI", "fp8 built": "TensorRTEngine", "int4-awq built": "TensorRTEngine"}
"""Precision, as published or built from the 16-bit weights, and the engine that runs it."""
PAIRS = [(model, gpu, precision) for model in MODELS for gpu in GPUS for precision in PRECISIONS]
CONFIG = replace(
    platforms.CONFIG,
    scheduler_names=("volcano",),
    volcano_queues=("gold",),
    toleration_keys=("*",),
    networks=offered(("tcp", "infiniband", "efa")),
)


def pair_spec(model: str, precision: str, **placement: Any) -> Spec:
    """The specification of a pair."""
    engine = EngineSpec(type=PRECISIONS[precision], precision=precision.split()[0])
    return Spec(model=ModelSpec(id=model), engine=engine, placement=PlacementSpec(**placement))


def two_nodes(**changes: Any) -> Spec:
    """8B cut over two nodes of one GPU each: the smallest group there is."""
    values: dict[str, Any] = {
        "model": ModelSpec(id="llama-3.1-8b-instruct"),
        "parallelism": ParallelismSpec(tensor=1, pipeline=2),
        "replicas": 2,
    }
    return Spec(**{**values, **changes})


def planned(spec: Spec, inventory: Inventory) -> Plan | Refusal:
    """The planner's answer to a specification."""
    return plan(model=packaged_catalog().models[spec.model.id], ask=ask_of(spec), inventory=inventory)


def one_each(*, claimed: bool = False) -> Inventory:
    """Eight nodes of one H100 each, counted by the node or claimed."""
    pools = hypothetical(gpu="H100-80", per_node=1).pools
    return Inventory(pools=tuple(replace(pool, claimed=claimed) for pool in pools))


def rendering(spec: Spec, answer: Plan, **changes: Any) -> Rendering:
    """All that the manifests are made from, on a cluster that has every API."""
    values: dict[str, Any] = {
        "key": Key("acme", "chat"),
        "uid": "00000000-0000-0000-0000-000000000001",
        "tenant": "acme",
        "spec": spec,
        "model": packaged_catalog().models[spec.model.id],
        "plan": answer,
        "weights": "b1" * 32,
        "secret": "s" * 64,
        "compiled": "c0" * 32 if answer.engine is Engine.TENSORRT_ENGINE else None,
        "config": CONFIG,
        "group_seed": b"g" * 32,
        "apis": frozenset(OPTIONAL),
    }
    return Rendering(**{**values, **changes})


def rendered(spec: Spec, inventory: Inventory, **changes: Any) -> list[Manifest]:
    """The manifests of a specification that can be planned."""
    answer = planned(spec, inventory)
    assert isinstance(answer, Plan), answer
    return manifests_of(rendering(spec, answer, **changes))


def manifests_of(made: Rendering) -> list[Manifest]:
    """All that the operator applies for a rendering: what copies share, the revision, and each copy."""
    revision = revisions.make(made, tokenizer="sha256:" + "7" * 64, wish="w" * 16, source="s" * 64, version="1.0.0")
    key = made.key
    copies = [
        names.copy_name(namespace=key.namespace, name=key.name, revision=revision.name, index=index)
        for index in range(made.spec.replicas)
    ]
    return [*render_serving(made), revision.manifest, *(item for name in copies for item in revision.copy(name))]


def of_kind(manifests: list[Manifest], kind: str) -> list[Manifest]:
    """Those of one kind."""
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def pod_specs(manifests: list[Manifest]) -> list[dict[str, Any]]:
    """Specifications of the serving pods: of a copy, or of a leader and a worker."""
    found = [item["spec"]["template"]["spec"] for item in of_kind(manifests, "ReplicaSet")]
    for group in of_kind(manifests, "LeaderWorkerSet"):
        template = group["spec"]["leaderWorkerTemplate"]
        found += [template["leaderTemplate"]["spec"], template["workerTemplate"]["spec"]]
    return found


def repository(manifests: list[Manifest]) -> dict[str, str]:
    """Triton's model repository, by path."""
    data = of_kind(manifests, "ConfigMap")[0]["data"]
    own = (revisions.FACTS_KEY, revisions.TEMPLATE_KEY)
    return {key.replace("__", "/"): text for key, text in data.items() if key not in own}


def summary(manifests: list[Manifest]) -> dict[str, Any]:
    """What differs from one pair to the next."""
    workload = (of_kind(manifests, "ReplicaSet") or of_kind(manifests, "LeaderWorkerSet"))[0]
    groups = workload["spec"].get("leaderWorkerTemplate", {})
    pod = pod_specs(manifests)[0]
    container = pod["containers"][0]
    terms = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    start = container["startupProbe"]
    return {
        "kind": workload["kind"],
        "pods": groups.get("size", 1),
        "on": terms[0]["matchExpressions"][0]["values"],
        "resources": container["resources"],
        "shm": next(item["emptyDir"]["sizeLimit"] for item in pod["volumes"] if item["name"] == "shm"),
        "start_seconds": start["periodSeconds"] * start["failureThreshold"],
        "model": yaml.safe_load(repository(manifests)[f"{MODEL_NAME}/1/model.yaml"]),
    }
