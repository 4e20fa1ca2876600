"""Models that need many GPUs, on simulated nodes: planned, cut, grouped by the real LeaderWorkerSet controller, served.

Control plane, API server with controllers and scheduler, LeaderWorkerSet and the operator are the real ones.
the nodes (kwok), what Triton answers and the weights (responder.py); no engine runs.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from paddock_core.resources import names
from paddock_local.demo import steps
from paddock_local.demo.cast import OPERATOR, TENANTS, Party
from paddock_local.demo.narrator import Narrator
from paddock_local.demo.world import World
from paddock_local.ports import BLOCK, DEFAULT_BASES
from paddock_local.progress import Progress
from paddock_local.scene import make_world
from paddock_local.settings import LocalSettings
from paddock_local.stack import Stack
from rich.console import Console

from e2e import enforcement as act
from e2e.responder import playing

NAME = "groups"
H100, H200 = "4xH100-80x8", "1xH200-141x8"
NO_REAL_NODE = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "nodes", "postgres", "paddock"]
LICENSE = "llama3.1"
MODEL = "llama-3.1-405b-instruct"
TEXTS = Path(__file__).parents[2] / "shared" / "license-texts" / LICENSE
EXAMPLES = Path(__file__).parents[1] / "examples"
SERVING = names.serving_namespace("acme")
SECONDS = 120.0
pytestmark = [
    pytest.mark.stack,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not TEXTS.is_dir(), reason=f"the text of {LICENSE}, which the vendor hands out, is not here"),
]


def base() -> int:
    """First port of this stack: apart from the other tests' stack, which may run at the same time."""
    return (LocalSettings().port_base or DEFAULT_BASES["e2e"]) + 3 * BLOCK


@pytest.fixture(scope="module")
def world(watched: Callable[[Stack], None]) -> Iterator[World]:
    """A stack of simulated nodes alone, with acme's and the platform's acceptance of the vendor's license."""
    stack = Stack(NAME, settings=LocalSettings(port_base=base()))
    stack.down(progress=Progress(), erase=True)
    try:
        stack.up(progress=Progress(), only=NO_REAL_NODE, nodes=[H100])
        watched(stack)
        found = make_world(stack)(Narrator(Console(stderr=True)))
        license_everybody(found)
        with playing(stack.kubeconfig):
            found.memory["nodes"], found.memory["stack"] = H100, stack
            yield found
        found.close()
    finally:
        if not LocalSettings().keep:
            stack.down(progress=Progress(), erase=True)


def license_everybody(world: World) -> None:
    steps.ensure_party(world, OPERATOR, "--operator")
    steps.ensure_party(world, TENANTS["acme"])
    steps.ensure_tenant(world, "acme", TENANTS["acme"])
    agreement, policy = str(TEXTS / "LICENSE"), str(TEXTS / "USE_POLICY.md")
    world.paddock("license", "import", LICENSE, "--agreement", agreement, "--aup", policy)
    accept(world, OPERATOR, role="operator", who="platform")
    accept(world, TENANTS["acme"], role="deployer", who="acme")


def accept(world: World, party: Party, *, role: str, who: str) -> None:
    person = f"{party.signatory} <{party.email}>"
    words = ("--license", LICENSE, "--role", role, "--entity", party.entity, "--signatory", person)
    offer = world.paddock("license", "offer", *words, who=who).json
    steps.sign(world, token=offer["signatory_token"], party=party)


def listed(world: World, kind: str, namespace: str = SERVING) -> list[dict[str, Any]]:
    found = world.kubectl("get", kind, "-n", namespace, "-o", "json", who="kubernetes-admin")
    return list(found.json["items"])


def groups(world: World) -> dict[str, dict[str, Any]]:
    """The LeaderWorkerSets by name."""
    return {item["metadata"]["name"]: item for item in listed(world, "leaderworkersets")}


def pods(world: World, group: str = "") -> dict[str, dict[str, Any]]:
    """Living pods by name, of one group or of all."""
    return {
        item["metadata"]["name"]: item
        for item in listed(world, "pods")
        if group in ("", item["metadata"]["labels"].get(names.GROUP)) and "deletionTimestamp" not in item["metadata"]
    }


def uids(found: dict[str, dict[str, Any]]) -> set[str]:
    return {item["metadata"]["uid"] for item in found.values()}


def serving(world: World, name: str, *, replicas: int = 1) -> dict[str, Any]:
    """The deployment once so many copies answer."""

    def look() -> dict[str, Any] | None:
        document = world.deployment(name)
        status = document.get("status", {})
        ready = status.get("readyReplicas") == replicas == status.get("replicas")
        if ready and status["plan"]["podsPerGroup"] > 1:
            ready = status.get("groups") == replicas == status.get("readyGroups")
        return document if ready and status.get("observedGeneration") == document["metadata"]["generation"] else None

    return dict(act.eventually(look, what=f"{replicas} copies of {name} to serve", seconds=SECONDS))


def gone(world: World, name: str) -> None:
    """Delete a deployment, and wait until nothing of it is left."""
    world.kubectl("delete", "llamadeployment", name, "-n", "acme", "--wait=true", f"--timeout={SECONDS:.0f}s")
    act.eventually(lambda: not groups(world) and not pods(world), what="groups and pods to go", seconds=SECONDS)
    kinds = "deployments,leaderworkersets,statefulsets,services,configmaps,secrets,networkpolicies,poddisruptionbudgets"
    left = [item["metadata"] for item in listed(world, kinds)]
    assert [item["name"] for item in left if item.get("labels", {}).get(names.DEPLOYMENT_NAME) == name] == []


def stand_on(world: World, nodes: str) -> None:
    """Let the cluster have these nodes and no others."""
    if world.memory["nodes"] != nodes:
        world.memory["stack"].up(progress=Progress(), only=NO_REAL_NODE, nodes=[nodes])
        world.memory["nodes"] = nodes


def explained(world: World, document: dict[str, Any]) -> None:
    """`paddock plan` says of the same question and nodes what the status says."""
    engine = document["spec"]["engine"]
    asked = {
        "--nodes": world.memory["nodes"],
        "--precision": engine["precision"],
        "--context": engine["contextLength"],
        "--concurrency": engine["maxConcurrency"],
    }
    said = world.paddock("plan", MODEL, *(str(word) for pair in asked.items() for word in pair)).json
    plan = document["status"]["plan"]
    assert said["explanation"] == plan["explanation"]
    assert (said["tensor_parallel"], said["pipeline_parallel"]) == (plan["tensorParallel"], plan["pipelineParallel"])
    assert said["gpu"] == plan["gpu"]


def example(file: str) -> dict[str, Any]:
    return dict(yaml.safe_load((EXAMPLES / file).read_text()))


@pytest.fixture
def bf16(world: World) -> Iterator[str]:
    """The example in BF16 on nodes of eight H100, serving; gone afterwards."""
    stand_on(world, H100)
    document = example("llama-3.1-405b-bf16.yaml")
    said = act.apply(world, document)
    assert said.code == 0, said.err
    name = document["metadata"]["name"]
    serving(world, name)
    yield name
    gone(world, name)


def test_405b_in_bf16_runs_as_one_group_of_two_nodes_and_plan_says_why(world, bf16):
    document = world.deployment(bf16)
    status, plan = document["status"], document["status"]["plan"]
    assert (plan["tensorParallel"], plan["pipelineParallel"], plan["podsPerGroup"], plan["gpusPerPod"]) == (8, 2, 2, 8)
    explained(world, document)
    (group,) = groups(world)
    found = pods(world, group)
    assert sorted(found) == [f"{group}-0", f"{group}-0-1"]
    assert {item["spec"]["nodeName"].rpartition("-")[0] for item in found.values()} == {"h100-80-x8"}
    assert len({item["spec"]["nodeName"] for item in found.values()}) == 2
    assert [item["url"] for item in status["routing"]["endpoints"]] == [
        f"http://{found[f'{group}-0']['status']['podIP']}:8000"
    ]


def test_clients_reach_the_leader_of_a_group_and_nobody_else(world, bf16):
    (group,) = groups(world)
    leader, worker = (pods(world, group)[name]["metadata"]["labels"] for name in (f"{group}-0", f"{group}-0-1"))
    ours = [item for item in listed(world, "services") if names.MANAGED_BY in item["metadata"].get("labels", {})]
    assert ours
    for service in ours:
        assert chosen(service["spec"]["selector"], leader)
        assert not chosen(service["spec"]["selector"], worker)
    opened = [item["spec"] for item in listed(world, "networkpolicies") if opens(item["spec"], port=8000)]
    assert opened
    for policy in opened:
        assert matches(policy["podSelector"], leader)
        assert not matches(policy["podSelector"], worker)


def chosen(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in selector.items())


def matches(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """A label selector as Kubernetes reads it."""
    holds = {
        "In": lambda rule: labels.get(rule["key"]) in rule["values"],
        "NotIn": lambda rule: labels.get(rule["key"]) not in rule["values"],
        "Exists": lambda rule: rule["key"] in labels,
        "DoesNotExist": lambda rule: rule["key"] not in labels,
    }
    rules = selector.get("matchExpressions") or []
    return chosen(selector.get("matchLabels") or {}, labels) and all(holds[rule["operator"]](rule) for rule in rules)


def opens(policy: dict[str, Any], *, port: int) -> bool:
    """Whether it lets somebody other than pods of the same group in on this port."""
    return any(item.get("port") == port for rule in policy.get("ingress") or [] for item in rule.get("ports") or [])


def test_copies_come_and_go_and_a_lost_worker_costs_its_own_group_alone(world, bf16):
    (first,) = groups(world)
    before = uids(pods(world, first))
    scale(world, bf16, 2)
    serving(world, bf16, replicas=2)
    second = next(name for name in groups(world) if name != first)
    assert uids(pods(world, first)) == before
    lost = uids(pods(world, second))
    world.kubectl("delete", "pod", f"{second}-0-1", "-n", SERVING, "--wait=false", who="kubernetes-admin")
    act.eventually(
        lambda: len(now := uids(pods(world, second))) == 2 and not now & lost,
        what="the whole group to be made anew", seconds=SECONDS,
    )  # fmt: skip
    serving(world, bf16, replicas=2)
    assert uids(pods(world, first)) == before
    leaders = {pods(world, group)[f"{group}-0"]["status"]["podIP"] for group in (first, second)}
    act.eventually(
        lambda: {item["url"] for item in world.deployment(bf16)["status"]["routing"]["endpoints"]}
        == {f"http://{address}:8000" for address in leaders},
        what="requests to go to both leaders", seconds=SECONDS,
    )  # fmt: skip
    scale(world, bf16, 1)
    serving(world, bf16, replicas=1)
    act.eventually(lambda: list(groups(world)) == [first], what="the second group to go", seconds=SECONDS)
    assert uids(pods(world, first)) == before


def scale(world: World, name: str, replicas: int) -> None:
    patch = json.dumps({"spec": {"replicas": replicas}})
    world.kubectl("patch", "llamadeployment", name, "-n", "acme", "--type", "merge", "-p", patch)


@pytest.mark.parametrize(
    ("file", "nodes", "gpu"),
    [("llama-3.1-405b-fp8.yaml", H100, "H100-80"), ("llama-3.1-405b-bf16.yaml", H200, "H200-141")],
    ids=["fp8 on H100", "bf16 on H200"],
)
def test_where_one_node_is_enough_one_node_is_taken(world, file, nodes, gpu):
    stand_on(world, nodes)
    document = example(file)
    name = document["metadata"]["name"]
    said = act.apply(world, document)
    assert said.code == 0, said.err
    try:
        found = serving(world, name)
        plan = found["status"]["plan"]
        assert (plan["tensorParallel"], plan["pipelineParallel"], plan["podsPerGroup"], plan["gpu"]) == (8, 1, 1, gpu)
        explained(world, found)
        assert groups(world) == {}
        (pod,) = pods(world).values()
        assert pod["spec"]["nodeName"].startswith(f"{gpu.lower()}-x8-")
    finally:
        gone(world, name)
