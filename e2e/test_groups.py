"""Models that need many GPUs, on simulated nodes: planned, cut, grouped by the real LeaderWorkerSet controller, served.

Control plane, API server with controllers and scheduler, LeaderWorkerSet and the operator are the real ones.
Played are the nodes (kwok), what Triton answers and the weights (responder.py), and the words of the vendor's license
where they are not beside this checkout (agreements.py); no engine runs.
"""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from paddock_core.resources import names
from paddock_local import secret_files
from paddock_local.demo import steps
from paddock_local.demo.cast import OPERATOR, TENANTS
from paddock_local.demo.narrator import Narrator
from paddock_local.demo.world import World
from paddock_local.ports import BLOCK, DEFAULT_BASES
from paddock_local.programs import HOST, POSTGRES_USER
from paddock_local.progress import Progress
from paddock_local.scene import make_world
from paddock_local.settings import LocalSettings
from paddock_local.stack import Stack
from rich.console import Console

from e2e import enforcement as act
from e2e.agreements import import_stand_ins
from e2e.responder import WORD, playing

NAME = "groups"
SMALL, H100, H200 = "4xL40S-48x1", "4xH100-80x8", "1xH200-141x8"
NO_REAL_NODE = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "nodes", "postgres", "paddock"]
VENDOR = "llama3.1"
MODEL = "llama-3.1-405b-instruct"
TEXTS = Path(__file__).parents[2] / "shared" / "license-texts" / VENDOR
ROOT = Path(__file__).parents[1]
SERVING = names.serving_namespace("acme")
SECONDS = 600.0
PAIR_MODEL = {
    "apiVersion": "paddock.dev/v1alpha1",
    "kind": "LlamaModel",
    "metadata": {"name": "demo-pair"},
    "spec": {
        "base": "smollm2-135m-instruct",
        "publicName": "Demo-Pair",
        "owner": "acme",
        "weights": {
            "precision": "bf16",
            "format": "safetensors",
            "bytes": 269_060_552,
            "source": {"kind": "huggingface", "repository": "acme/demo-pair"},
            "revision": "0" * 40,
            "files": [{"name": "model.safetensors", "bytes": 269_060_552, "sha256": "0" * 64}],
        },
    },
}
PAIR = act.deployment("pair", model="demo-pair") | {
    "spec": {
        "model": {"id": "demo-pair"},
        "engine": {"type": "LLMAPI", "contextLength": 2048, "maxConcurrency": 2},
        "parallelism": {"tensor": 1, "pipeline": 2},
        "placement": {"gpu": "L40S-48"},
    }
}
"""The smallest group there is: a model that would fit one GPU, cut in two over nodes of one GPU each."""
pytestmark = pytest.mark.stack


def base() -> int:
    """First port of this stack: apart from the other tests' stack, which may run at the same time."""
    return (LocalSettings().port_base or DEFAULT_BASES["e2e"]) + 3 * BLOCK


@pytest.fixture(scope="module")
def world(watched: Callable[[Stack], None]) -> Iterator[World]:
    """A stack of simulated nodes alone, with acme licensed for the demonstration model and what is made of it."""
    stack = Stack(NAME, settings=LocalSettings(port_base=base()))
    stack.down(progress=Progress(), erase=True)
    try:
        stack.up(progress=Progress(), only=NO_REAL_NODE, nodes=[SMALL, H100])
        watched(stack)
        found = make_world(stack)(Narrator(Console(stderr=True)))
        found.memory |= {"nodes": [SMALL, H100], "stack": stack}
        steps.register(found)
        found.paddock("quota", "set", "--tenant", "acme", "--gpus", "128")
        steps.accept(found, party=TENANTS["acme"], role="deployer", who="acme")
        with playing(stack.kubeconfig, platform_key=stack.paths.secret("platform-key").read_bytes().strip()):
            yield found
        found.close()
    finally:
        if not LocalSettings().keep:
            stack.down(progress=Progress(), erase=True)


def import_texts(world: World) -> None:
    """The vendor's own texts where they are beside this checkout; else words that only stand for them."""
    if TEXTS.is_dir():
        agreement, policy = str(TEXTS / "LICENSE"), str(TEXTS / "USE_POLICY.md")
        world.paddock("license", "import", VENDOR, "--agreement", agreement, "--aup", policy)
        return
    stack: Stack = world.memory["stack"]
    password = secret_files.read(stack.paths, "postgres-password")
    dsn = f"postgresql+asyncpg://{POSTGRES_USER}:{password}@{HOST}:{stack.ports['postgres']}/{POSTGRES_USER}"
    asyncio.run(import_stand_ins(dsn=dsn, license_id=VENDOR))


@pytest.fixture(scope="module")
def vendor(world: World) -> None:
    """The platform and acme have accepted the license of the vendor's models."""
    import_texts(world)
    for party, role, who in ((OPERATOR, "operator", "platform"), (TENANTS["acme"], "deployer", "acme")):
        person = f"{party.signatory} <{party.email}>"
        words = ("--license", VENDOR, "--role", role, "--entity", party.entity, "--signatory", person)
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
    kinds = "deployments,leaderworkersets,statefulsets,configmaps,secrets,networkpolicies,poddisruptionbudgets"
    left = [item["metadata"] for item in listed(world, kinds)]
    assert [item["name"] for item in left if item.get("labels", {}).get(names.DEPLOYMENT_NAME) == name] == []


def stand_on(world: World, *nodes: str) -> None:
    """Let the cluster have these nodes and no others."""
    if world.memory["nodes"] != [*nodes]:
        world.memory["stack"].up(progress=Progress(), only=NO_REAL_NODE, nodes=[*nodes])
        world.memory["nodes"] = [*nodes]


def explained(world: World, document: dict[str, Any]) -> None:
    """`paddock plan` says of the same question and nodes what the status says."""
    engine = document["spec"]["engine"]
    asked = [
        *(("--nodes", shape) for shape in world.memory["nodes"]),
        ("--precision", engine["precision"]),
        ("--context", str(engine["contextLength"])),
        ("--concurrency", str(engine["maxConcurrency"])),
    ]
    said = world.paddock("plan", MODEL, *(word for option in asked for word in option)).json
    plan = document["status"]["plan"]
    assert said["explanation"] == plan["explanation"]
    assert (said["tensor_parallel"], said["pipeline_parallel"]) == (plan["tensorParallel"], plan["pipelineParallel"])
    assert said["gpu"] == plan["gpu"]


def example(file: str) -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "examples" / file).read_text()))


def apply(world: World, document: dict[str, Any]) -> str:
    """`kubectl apply` as acme; the name."""
    said = act.apply(world, document)
    assert said.code == 0, said.err
    return str(document["metadata"]["name"])


@pytest.fixture(scope="class")
def pair(world: World) -> Iterator[str]:
    """The small model as a group of two pods, serving; gone after the last test of the class."""
    stand_on(world, SMALL, H100)
    assert act.apply(world, PAIR_MODEL, who="kubernetes-admin").code == 0
    name = apply(world, PAIR)
    serving(world, name)
    yield name
    gone(world, name)


def endpoints(world: World, name: str) -> set[str]:
    """Where requests go."""
    targets = world.deployment(name)["status"]["routing"]["targets"]
    return {item["url"] for target in targets for item in target["endpoints"]}


def address(world: World, group: str) -> str:
    """Of the leader."""
    return f"http://{pods(world, group)[f'{group}-0']['status']['podIP']}:8000"


def answered(world: World) -> bool:
    """Whether the gateway answers a chat of acme's with what the group's leader generated."""
    found = act.Endpoint(world=world, url=world.gateway_url)
    try:
        return found.serves(model="acme/pair") == WORD
    finally:
        found.close()


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


def scale(world: World, name: str, replicas: int) -> None:
    patch = json.dumps({"spec": {"replicas": replicas}})
    world.kubectl("patch", "llamadeployment", name, "-n", "acme", "--type", "merge", "-p", patch)


class TestSmallestGroup:
    """A deployment of which one copy is two pods."""

    def test_a_group_is_placed_whole_and_its_leader_alone_is_routed_to(self, world, pair):
        status = world.deployment(pair)["status"]
        assert (status["plan"]["tensorParallel"], status["plan"]["pipelineParallel"]) == (1, 2)
        (group,) = groups(world)
        found = pods(world, group)
        assert sorted(found) == [f"{group}-0", f"{group}-0-1"]
        assert len({item["spec"]["nodeName"] for item in found.values()}) == 2
        assert endpoints(world, pair) == {address(world, group)}

    def test_clients_reach_the_leader_of_a_group_and_nobody_else(self, world, pair):
        act.eventually(lambda: answered(world), what="an answer through the gateway", seconds=SECONDS)
        (group,) = groups(world)
        leader, worker = (pods(world, group)[name]["metadata"]["labels"] for name in (f"{group}-0", f"{group}-0-1"))
        opened = [item["spec"] for item in listed(world, "networkpolicies") if opens(item["spec"], port=8000)]
        assert any(matches(policy["podSelector"], leader) for policy in opened)
        assert not any(matches(policy["podSelector"], worker) for policy in opened)

    def test_copies_come_and_go_and_a_lost_worker_costs_its_own_group_alone(self, world, pair):
        (first,) = groups(world)
        before = uids(pods(world, first))
        scale(world, pair, 2)
        serving(world, pair, replicas=2)
        second = next(name for name in groups(world) if name != first)
        assert uids(pods(world, first)) == before
        lost = uids(pods(world, second))
        world.kubectl("delete", "pod", f"{second}-0-1", "-n", SERVING, "--wait=false", who="kubernetes-admin")
        act.eventually(
            lambda: len(now := uids(pods(world, second))) == 2 and not now & lost,
            what="the whole group to be made anew", seconds=SECONDS,
        )  # fmt: skip
        serving(world, pair, replicas=2)
        assert uids(pods(world, first)) == before
        act.eventually(
            lambda: endpoints(world, pair) == {address(world, first), address(world, second)},
            what="requests to go to both leaders", seconds=SECONDS,
        )  # fmt: skip
        scale(world, pair, 1)
        serving(world, pair, replicas=1)
        act.eventually(lambda: list(groups(world)) == [first], what="the second group to go", seconds=SECONDS)
        assert uids(pods(world, first)) == before
        assert answered(world)

    def test_a_group_leaves_a_node_with_a_broken_gpu_and_comes_elsewhere(self, world, pair):
        (first,) = groups(world)
        broken = pods(world, first)[f"{first}-0-1"]["spec"]["nodeName"]
        say(world, broken, "True")
        try:
            act.eventually(lambda: first not in groups(world), what="the group to leave", seconds=2 * SECONDS)
            serving(world, pair)
            places = {item["spec"]["nodeName"] for item in pods(world).values()}
            assert len(places) == 2
            assert broken not in places
            (second,) = groups(world)
            act.eventually(
                lambda: endpoints(world, pair) == {address(world, second)}, what="requests to follow", seconds=SECONDS
            )
            assert answered(world)
        finally:
            say(world, broken, "False")

    def test_a_rank_that_ends_twice_costs_its_group_a_pause_and_is_remembered(self, world, pair):
        (group,) = groups(world)
        before = uids(pods(world, group))
        end(world, f"{group}-0-1")
        act.eventually(
            lambda: len(now := uids(pods(world, group))) == 2 and not now & before,
            what="the group to be made anew by its controller", seconds=SECONDS,
        )  # fmt: skip
        serving(world, pair)
        assert copies(world, pair)[group]["failures"] == 1
        end(world, f"{group}-0-1")
        act.eventually(lambda: copies(world, pair)[group]["failures"] == 2, what="a second failure", seconds=SECONDS)
        act.eventually(
            lambda: world.deployment(pair)["status"]["conditions"] and reason(world, pair) == "RestartDelayed",
            what="the pause to be told", seconds=SECONDS,
        )  # fmt: skip
        serving(world, pair)
        assert list(groups(world)) == [group]
        assert answered(world)


def say(world: World, node: str, status: str) -> None:
    """What a monitor of GPUs says of a node."""
    condition = {"type": "XidCriticalError", "status": status, "reason": "Xid79", "message": "fallen off the bus"}
    patch = json.dumps({"status": {"conditions": [condition]}})
    told = ("patch", "node", node, "--subresource=status", "--type", "strategic", "-p", patch)
    assert world.kubectl(*told, who="kubernetes-admin").code == 0


def end(world: World, pod: str) -> None:
    """The container of a pod ends for want of memory and is started again, as its kubelet would tell."""
    found = world.kubectl("get", "pod", pod, "-n", SERVING, "-o", "json", who="kubernetes-admin").json
    (status,) = found["status"]["containerStatuses"]
    ended = {"exitCode": 137, "reason": "OOMKilled", "finishedAt": "2026-01-01T00:00:00Z", "startedAt": None}
    again = {**status, "restartCount": status["restartCount"] + 1, "lastState": {"terminated": ended}}
    patch = json.dumps({"status": {"containerStatuses": [again]}})
    told = ("patch", "pod", pod, "-n", SERVING, "--subresource=status", "--type", "merge", "-p", patch)
    assert world.kubectl(*told, who="kubernetes-admin").code == 0


def copies(world: World, name: str) -> dict[str, dict[str, Any]]:
    """What the status remembers of copies."""
    return {item["name"]: item for item in world.deployment(name)["status"].get("copies", [])}


def reason(world: World, name: str) -> str:
    """Why it does not serve."""
    conditions = world.deployment(name)["status"]["conditions"]
    return str(next(item["reason"] for item in conditions if item["type"] == "Serving"))


@pytest.mark.parametrize(
    ("file", "nodes", "cut"),
    [
        ("llama-3.1-405b-bf16.yaml", H100, (8, 2, 2, "H100-80")),
        ("llama-3.1-405b-fp8.yaml", H100, (8, 1, 1, "H100-80")),
        ("llama-3.1-405b-bf16.yaml", H200, (8, 1, 1, "H200-141")),
    ],
    ids=["bf16 on H100", "fp8 on H100", "bf16 on H200"],
)
def test_405b_takes_the_nodes_it_needs_and_plan_says_why(world, vendor, file, nodes, cut):
    stand_on(world, nodes)
    name = apply(world, example(file))
    try:
        found = serving(world, name)
        plan = found["status"]["plan"]
        assert (plan["tensorParallel"], plan["pipelineParallel"], plan["podsPerGroup"], plan["gpu"]) == cut
        explained(world, found)
        assert len(groups(world)) == (1 if plan["podsPerGroup"] > 1 else 0)
        places = [item["spec"]["nodeName"] for item in pods(world).values()]
        assert len(set(places)) == len(places) == plan["podsPerGroup"]
        assert {place.rpartition("-")[0] for place in places} == {f"{plan['gpu'].lower()}-x8"}
    finally:
        gone(world, name)
