"""The real API server, with LeaderWorkerSet's own schema, takes every rendering: a dry run of each."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from paddock_core.planning.gpus import hypothetical
from paddock_core.planning.types import Plan
from paddock_core.resources.llamadeployment import EngineSpec, ModelSpec, PlacementSpec, Spec, Toleration

NAMESPACE = "paddock-serving-acme"
EVERYTHING = PlacementSpec(
    node_selector={"zone": "a"},
    tolerations=(Toleration(key="dedicated", operator="Exists"),),
    topology_key="rack",
    scheduler_name="volcano",
    priority_class_name="high",
    queue="gold",
    network="infiniband",
)


@pytest.fixture(scope="module")
def complete(api: Any, group_api: None, optional_kinds: Any) -> Iterator[Any]:
    """The API server with every optional API, and the serving namespace."""
    definitions = optional_kinds.definitions()
    done = api.apply(*definitions, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    assert done.returncode == 0, done.stderr
    for definition in definitions:
        name = f"crd/{definition['metadata']['name']}"
        assert api.kubectl("wait", "--for=condition=Established", name, "--timeout=60s").returncode == 0
    yield api
    for definition in definitions:
        api.kubectl("delete", "crd", definition["metadata"]["name"], "--wait=false")


def tried(api: Any, manifests: list[Any]) -> Any:
    # JSON: a digest like 12e34 is a string to Python's YAML and a number to kubectl's.
    text = "\n---\n".join(map(json.dumps, manifests))
    # As the operator applies: a namespace that another test's operator has made is no obstacle.
    how = ("--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict")
    return api.kubectl("apply", *how, "-f", "-", stdin=text)


async def test_every_pair_is_taken(complete: Any, pairs: Any) -> None:
    manifests, number = [], 0
    for model, gpu, precision in pairs.PAIRS:
        spec = pairs.pair_spec(model, precision)
        answer = pairs.planned(spec, hypothetical(gpu=gpu))
        if isinstance(answer, Plan):
            number += 1
            key = pairs.Key("acme", f"chat-{number}")
            manifests += pairs.render_serving(pairs.rendering(spec, answer, key=key))
    done = await asyncio.to_thread(tried, complete, manifests)
    assert done.returncode == 0, done.stderr
    assert number >= 25


@pytest.mark.parametrize(
    "spec",
    [
        {"placement": EVERYTHING},
        {"placement": PlacementSpec(topology_key="rack", queue="gold", device_class="gpu.nvidia.com", network="efa")},
        {"placement": PlacementSpec(topology_key="rack", exclusive_topology=True, queue="gold")},
    ],
    ids=["volcano and infiniband", "kueue, efa and claimed devices", "kueue and a domain of its own"],
)
def test_groups_with_every_kind_of_placement_are_taken(complete: Any, pairs: Any, spec: dict[str, Any]) -> None:
    inventory = pairs.one_each(claimed=spec["placement"].device_class is not None)
    manifests = pairs.rendered(pairs.two_nodes(**spec), inventory)
    done = tried(complete, manifests)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("leaderworkerset.leaderworkerset.x-k8s.io/") == 2


def test_a_slice_of_a_gpu_is_taken(complete: Any, pairs: Any) -> None:
    spec = Spec(
        model=ModelSpec(id="llama-3.2-1b-instruct"),
        engine=EngineSpec(context_length=4096),
        placement=PlacementSpec(mig_profile="3g.40gb"),
    )
    manifests = pairs.rendered(spec, hypothetical(gpu="H100-80", mig_profile="3g.40gb"))
    limits = pairs.pod_specs(manifests)[0]["containers"][0]["resources"]["limits"]
    assert limits["nvidia.com/mig-3g.40gb"] == "1"
    done = tried(complete, manifests)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("network", "taken"), [("tcp", True), ("efa", True), ("infiniband", False)])
def test_pods_of_a_group_keep_the_restricted_profile_but_for_the_named_exception(
    complete: Any, pairs: Any, network: str, taken: bool
) -> None:
    namespace = f"restricted-{network}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": labels}}
    assert complete.apply(made).returncode == 0
    specs = pairs.pod_specs(pairs.rendered(pairs.two_nodes(placement=PlacementSpec(network=network)), pairs.one_each()))
    for number, spec in enumerate(specs[:2]):
        metadata = {"namespace": namespace, "name": f"pod-{number}"}
        done = tried(complete, [{"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}])
        assert (done.returncode == 0) is taken, done.stderr
        assert taken or "IPC_LOCK" in done.stderr


def test_a_field_that_no_schema_has_would_be_refused(complete: Any, pairs: Any) -> None:
    manifests = pairs.rendered(pairs.two_nodes(), pairs.one_each())
    group = next(item for item in manifests if item["kind"] == "LeaderWorkerSet")
    group["spec"]["leaderWorkerTemplate"]["leaderTemplate"]["spec"]["containers"][0]["argz"] = ["serve"]
    assert tried(complete, [group]).returncode != 0


def test_schemas_of_other_projects_refuse_what_lacks_or_is_unknown(complete: Any, pairs: Any) -> None:
    spec = pairs.two_nodes(placement=PlacementSpec(scheduler_name="volcano", queue="gold", priority_class_name="high"))
    manifests = pairs.rendered(spec, pairs.one_each())
    pool, monitor, gang = (pairs.of_kind(manifests, kind)[0] for kind in ("InferencePool", "PodMonitor", "PodGroup"))
    assert tried(complete, [pool, monitor, gang]).returncode == 0
    del pool["spec"]["endpointPickerRef"]["port"]
    done = tried(complete, [pool])
    assert (done.returncode != 0, "needs a port" in done.stderr) == (True, True)
    for manifest in (monitor, gang):
        manifest["spec"]["minMembers"] = 2
        assert "minMembers" in tried(complete, [manifest]).stderr


@pytest.mark.parametrize(
    "example",
    ["llama-3.1-8b", "llama-3.1-8b-to-zero", "llama-3.1-405b", "llama-3.1-405b-bf16", "llama-3.1-405b-fp8"],
)
def test_examples_are_taken(complete: Any, example: str) -> None:
    document = yaml.safe_load((Path(__file__).resolve().parents[2] / "examples" / f"{example}.yaml").read_text())
    assert tried(complete, [document]).returncode == 0


@pytest.mark.parametrize(
    ("placement", "said"),
    [
        ({"migProfile": "1g.10gb", "deviceClass": "gpu"}, "choose one of migProfile and deviceClass"),
        ({"exclusiveTopology": True}, "exclusiveTopology needs topologyKey"),
        (
            {"exclusiveTopology": True, "topologyKey": "rack", "schedulerName": "volcano"},
            "exclusiveTopology and schedulerName volcano wait for each other",
        ),
        ({"migProfile": "half"}, "migProfile"),
    ],
)
def test_placement_that_makes_no_sense_is_refused(complete: Any, placement: Any, said: str) -> None:
    document = {
        "apiVersion": "paddock.dev/v1alpha1",
        "kind": "LlamaDeployment",
        "metadata": {"namespace": "acme", "name": "chat"},
        "spec": {"model": {"id": "m"}, "placement": placement},
    }
    done = tried(complete, [document])
    assert done.returncode != 0
    assert said in done.stderr
