"""Changes of deployments that are asked all the while, on simulated nodes: nobody notices.

Gateway, control plane, operator, API server with controllers and scheduler are the real ones; nodes, weights and
Triton's answers are played (responder.py). Applications ask before, during and after each change, and every answer must
be whole.
"""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from paddock_core.resources import names
from paddock_local.demo import steps
from paddock_local.demo.cast import TENANTS
from paddock_local.demo.narrator import Narrator
from paddock_local.demo.world import World
from paddock_local.ports import BLOCK, DEFAULT_BASES
from paddock_local.progress import Progress
from paddock_local.scene import make_world
from paddock_local.settings import LocalSettings
from paddock_local.stack import Stack
from rich.console import Console

from e2e import enforcement as act
from e2e.asking import Asking, client, streamed
from e2e.responder import WORD, Cluster, Responder, playing

NAME = "rollouts"
NODES = ["12xL40S-48x1"]
NO_REAL_NODE = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "nodes", "postgres", "paddock"]
SECONDS = 600.0
PACE_SECONDS = 0.05
MODEL_ID = "demo-rolled"
MODEL = {
    "apiVersion": "paddock.dev/v1alpha1",
    "kind": "LlamaModel",
    "metadata": {"name": MODEL_ID},
    "spec": {
        "base": "smollm2-135m-instruct",
        "publicName": "Demo-Rolled",
        "owner": "acme",
        "weights": {
            "precision": "bf16",
            "format": "safetensors",
            "bytes": 269_060_552,
            "source": {"kind": "huggingface", "repository": "acme/demo-rolled"},
            "revision": "0" * 40,
            "files": [{"name": "model.safetensors", "bytes": 269_060_552, "sha256": "0" * 64}],
        },
    },
}
CHILDREN = "replicasets,pods,configmaps,secrets,networkpolicies,poddisruptionbudgets,serviceaccounts"
pytestmark = pytest.mark.stack


def base() -> int:
    """First port of this stack: apart from the other tests' stacks, which may run at the same time."""
    return (LocalSettings().port_base or DEFAULT_BASES["e2e"]) + 5 * BLOCK


@dataclass
class Scene:
    """The stack with its people, and what plays Triton."""

    world: World
    stack: Stack
    cluster: Cluster
    responder: Responder

    def look(self, name: str) -> dict[str, Any]:
        """The whole LlamaDeployment."""
        return self.cluster.read(f"/apis/paddock.dev/v1alpha1/namespaces/acme/llamadeployments/{name}")

    def patch(self, name: str, **spec: Any) -> None:
        """A change of its specification."""
        document = json.dumps({"spec": spec})
        self.world.kubectl("patch", "llamadeployment", name, "-n", "acme", "--type", "merge", "-p", document)

    def apply(self, name: str, **spec: Any) -> None:
        engine = {"type": "LLMAPI", "contextLength": 2048, "maxConcurrency": 16}
        document = act.deployment(name, model=MODEL_ID)
        document["spec"] = {"model": {"id": MODEL_ID}, "engine": engine, "placement": {"gpu": "L40S-48"}, **spec}
        said = act.apply(self.world, document)
        assert said.code == 0, said.err

    def until(self, name: str, *, what: str, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The deployment once its status is so, and speaks of its present specification."""

        def probe() -> dict[str, Any] | None:
            found = self.look(name)
            status = found.get("status", {})
            current = status.get("observedGeneration") == found["metadata"]["generation"]
            return found if current and holds(status) else None

        return dict(act.eventually(probe, what=f"{name}: {what}", seconds=SECONDS))

    def serving(self, name: str, *, copies: int) -> str:
        """The revision that serves alone with so many copies, once it does."""

        def holds(status: dict[str, Any]) -> bool:
            alone = status.get("rollout") is None and status.get("replicas") == status.get("readyReplicas") == copies
            return alone and bool(current(status)) and len(self.workloads(name)) == copies

        return current(self.until(name, what=f"{copies} copies of one revision", holds=holds)["status"])

    def workloads(self, name: str) -> dict[str, str]:
        """Name to uid of the copies' workloads."""
        selector = f"{names.DEPLOYMENT_NAME}={name},{names.COPY}"
        path = f"/apis/apps/v1/namespaces/{act.SERVING}/replicasets"
        listed = self.cluster.listed(path, labelSelector=selector)
        return {item["metadata"]["name"]: item["metadata"]["uid"] for item in listed}

    def children(self) -> dict[str, tuple[str, int, int]]:
        """Everything in the serving namespace: uid, generation and restarts by kind and name."""
        found = self.world.kubectl("get", CHILDREN, "-n", act.SERVING, "-o", "json", who="kubernetes-admin").json
        return {f"{item['kind']}/{item['metadata']['name']}": _state(item) for item in found["items"]}


def _state(item: dict[str, Any]) -> tuple[str, int, int]:
    statuses = item.get("status", {}).get("containerStatuses", []) if item["kind"] == "Pod" else []
    restarts = sum(status["restartCount"] for status in statuses)
    return item["metadata"]["uid"], item["metadata"].get("generation", 0), restarts


def current(status: dict[str, Any]) -> str:
    """The revision that served wholly last; empty if none has."""
    return next((item["name"] for item in status.get("revisions", []) if item["state"] == "Current"), "")


def revision(status: dict[str, Any], name: str) -> dict[str, Any]:
    return next((item for item in status.get("revisions", []) if item["name"] == name), {})


def endpoints(status: dict[str, Any]) -> int:
    """Copies that requests go to."""
    targets = (status.get("routing") or {}).get("targets", [])
    return sum(len(target.get("endpoints", [])) for target in targets if target.get("weight", 100))


@dataclass
class Watching:
    """What is seen of a deployment's routing from the beginning of the block to its end."""

    scene: Scene
    name: str
    fewest: int = 1000
    weights: list[dict[str, int]] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "Watching":
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        cluster = Cluster(self.scene.stack.kubeconfig)
        path = f"/apis/paddock.dev/v1alpha1/namespaces/acme/llamadeployments/{self.name}"
        while not self._over.wait(0.1):
            status = cluster.read(path).get("status", {})
            self.fewest = min(self.fewest, endpoints(status))
            targets = (status.get("routing") or {}).get("targets", [])
            self._note(self.weights, {item["revision"]: item.get("weight", 100) for item in targets})
            self._note(self.messages, (status.get("rollout") or {}).get("message", ""))
        cluster.close()

    @staticmethod
    def _note(seen: list[Any], value: Any) -> None:
        if not seen or seen[-1] != value:
            seen.append(value)


@pytest.fixture(scope="module")
def scene(watched: Callable[[Stack], None]) -> Iterator[Scene]:
    """A stack of simulated nodes alone, with acme licensed and given GPUs."""
    stack = Stack(NAME, settings=LocalSettings(port_base=base()))
    stack.down(progress=Progress(), erase=True)
    try:
        stack.up(progress=Progress(), only=NO_REAL_NODE, nodes=NODES)
        watched(stack)
        world = make_world(stack)(Narrator(Console(stderr=True)))
        steps.register(world)
        steps.accept(world, party=TENANTS["acme"], role="deployer", who="acme")
        world.paddock("quota", "set", "--tenant", "acme", "--gpus", "40")
        key = stack.paths.secret("platform-key").read_bytes().strip()
        with playing(stack.kubeconfig, platform_key=key, pace_seconds=PACE_SECONDS) as responder:
            assert act.apply(world, MODEL, who="kubernetes-admin").code == 0
            cluster = Cluster(stack.kubeconfig)
            yield Scene(world=world, stack=stack, cluster=cluster, responder=responder)
            cluster.close()
        world.close()
    finally:
        if not LocalSettings().keep:
            stack.down(progress=Progress(), erase=True)


@pytest.fixture(scope="module")
def rolled(scene: Scene) -> str:
    """A deployment of two copies."""
    scene.apply("rolled", replicas=2)
    scene.serving("rolled", copies=2)
    return "rolled"


@pytest.fixture(autouse=True)
def usual_pace(scene: Scene) -> None:
    """Every engine comes up, and none is slower than another."""
    scene.responder.pace_of = lambda _revision: PACE_SECONDS


WIDE = {"maxErrorPercent": 5, "maxTtftIncreasePercent": 10_000, "maxThroughputLossPercent": 95, "minRequests": 20}
"""A gate that a busy machine does not close."""
NARROW = {**WIDE, "maxTtftIncreasePercent": 50, "maxThroughputLossPercent": 30}


def change(scene: Scene, name: str, **rollout: Any) -> None:
    """Another specification: one more sequence at once, by this strategy."""
    engine = scene.look(name)["spec"]["engine"]
    usual = {"strategy": "RollingUpdate", "steps": [], "gate": WIDE, "deadlineSeconds": 3600, "rollback": True}
    fresh = {**usual, **rollout}
    scene.patch(name, engine={"maxConcurrency": engine["maxConcurrency"] + 1}, rollout=fresh)


def set_back(scene: Scene, name: str, engine: dict[str, Any]) -> str:
    """The specification that was there before; the revision that serves then."""
    scene.patch(name, engine={"maxConcurrency": engine["maxConcurrency"]})
    scene.until(name, what="the former one alone", holds=lambda status: status.get("rollout") is None)
    return scene.serving(name, copies=2)


def asked(scene: Scene, name: str, *, clients: int = 4) -> Asking:
    return Asking(scene.world, clients=clients, served=f"acme/{name}", tokens=20)


def whole(asking: Asking) -> None:
    """Every answer was, and there were some."""
    assert asking.problems == []
    assert asking.whole > 0


def test_a_rolling_update_keeps_all_copies_answering_and_cuts_nothing(scene: Scene, rolled: str) -> None:
    before = scene.serving(rolled, copies=2)
    with asked(scene, rolled) as asking, Watching(scene, rolled) as seen:
        change(scene, rolled)
        scene.until(rolled, what="another revision", holds=lambda status: current(status) != before)
        assert scene.serving(rolled, copies=2) != before
    whole(asking)
    assert seen.fewest == 2


def test_blue_and_green_change_places_at_once(scene: Scene, rolled: str) -> None:
    before = scene.serving(rolled, copies=2)
    with asked(scene, rolled) as asking, Watching(scene, rolled) as seen:
        change(scene, rolled, strategy="BlueGreen", steps=[{"weightPercent": 100, "seconds": 3}])
        scene.until(rolled, what="another revision", holds=lambda status: current(status) != before)
        after = scene.serving(rolled, copies=2)
    whole(asking)
    assert {tuple(sorted(item.items())) for item in seen.weights} == {((before, 100),), ((after, 100),)}
    assert seen.fewest == 2


def test_a_canary_goes_up_by_its_steps(scene: Scene, rolled: str) -> None:
    before = scene.serving(rolled, copies=2)
    stages = [{"weightPercent": 25, "seconds": 3}, {"weightPercent": 100, "seconds": 3}]
    with asked(scene, rolled) as asking, Watching(scene, rolled) as seen:
        change(scene, rolled, strategy="Canary", steps=stages)
        scene.until(rolled, what="another revision", holds=lambda status: current(status) != before)
        after = scene.serving(rolled, copies=2)
    whole(asking)
    shares = [item.get(after, 0) for item in seen.weights]
    assert 25 in shares
    assert shares == sorted(shares)
    assert revision(scene.look(rolled)["status"], after)["benchmark"]["requests"] > 0


def test_a_canary_that_is_slower_is_taken_back_by_its_gate(scene: Scene, rolled: str) -> None:
    before, engine = scene.serving(rolled, copies=2), scene.look(rolled)["spec"]["engine"]
    scene.responder.pace_of = lambda name: PACE_SECONDS if name == before else 4 * PACE_SECONDS
    with asked(scene, rolled) as asking:
        stages = [{"weightPercent": 50, "seconds": 600}]
        change(scene, rolled, strategy="Canary", steps=stages, gate=NARROW)
        scene.until(rolled, what="the way back", holds=lambda status: "before" in failure(status))
        assert scene.serving(rolled, copies=2) == before
    whole(asking)
    found = act.looked(scene.world, name=rolled)["Progressing"]
    assert found["reason"] == "RolledBack"
    assert set_back(scene, rolled, engine) == before


def failure(status: dict[str, Any]) -> str:
    """Why a revision failed."""
    return next((item.get("message", "") for item in status.get("revisions", []) if item["state"] == "Failed"), "")


def test_a_broken_engine_is_taken_back_and_costs_no_copy(scene: Scene, rolled: str) -> None:
    before = scene.serving(rolled, copies=2)
    kept, engine = scene.workloads(rolled), scene.look(rolled)["spec"]["engine"]
    scene.responder.pace_of = lambda name: PACE_SECONDS if name == before else None
    with asked(scene, rolled) as asking, Watching(scene, rolled) as seen:
        change(scene, rolled, deadlineSeconds=15)
        scene.until(rolled, what="the failure", holds=lambda status: "within 15 s" in failure(status))
        assert scene.serving(rolled, copies=2) == before
    whole(asking)
    assert seen.fewest == 2
    assert set_back(scene, rolled, engine) == before
    assert scene.workloads(rolled) == kept


def test_setting_it_back_in_the_middle_keeps_the_copies_that_are_there(scene: Scene, rolled: str) -> None:
    before = scene.serving(rolled, copies=2)
    kept, engine = scene.workloads(rolled), scene.look(rolled)["spec"]["engine"]
    with asked(scene, rolled) as asking, Watching(scene, rolled) as seen:
        change(scene, rolled, strategy="Canary", steps=[{"weightPercent": 10, "seconds": 600}])
        scene.until(
            rolled, what="some requests on the new one",
            holds=lambda status: (status.get("rollout") or {}).get("stepSince", "") != "",
        )  # fmt: skip
        assert set_back(scene, rolled, engine) == before
    whole(asking)
    assert seen.fewest == 2
    assert scene.workloads(rolled) == kept


def test_without_a_spare_gpu_one_copy_makes_room_for_the_next(scene: Scene, rolled: str) -> None:
    before = scene.serving(rolled, copies=2)
    scene.apply("filler", replicas=10)
    scene.serving("filler", copies=10)
    try:
        with asked(scene, rolled, clients=2) as asking, Watching(scene, rolled) as seen:
            change(scene, rolled)
            scene.until(rolled, what="another revision", holds=lambda status: current(status) != before)
            scene.serving(rolled, copies=2)
        whole(asking)
        assert seen.fewest == 1
        scene.patch(rolled, replicas=1)
        before = scene.serving(rolled, copies=1)
        scene.patch("filler", replicas=11)
        scene.serving("filler", copies=11)
        with asked(scene, rolled, clients=2) as asking, Watching(scene, rolled) as seen:
            change(scene, rolled, strategy="DrainFirst")
            scene.until(rolled, what="another revision", holds=lambda status: current(status) != before)
            scene.serving(rolled, copies=1)
        # Nobody could answer for a while: requests waited for it.
        assert seen.fewest == 0
        whole(asking)
    finally:
        for name in ("filler", rolled):
            scene.world.kubectl("delete", "llamadeployment", name, "-n", "acme", f"--timeout={SECONDS:.0f}s")


def replaced_operator(scene: Scene, **settings: str) -> None:
    """Another operator with other settings takes the place of the one that runs."""
    file = scene.stack.paths.spec("operator")
    spec = json.loads(file.read_text())
    spec["env"] |= settings
    scene.stack.supervisor.stop_part("operator")
    file.write_text(json.dumps(spec))
    scene.stack.supervisor.start_part("operator")


def test_an_upgrade_of_the_operator_restarts_nothing_and_cuts_no_stream(scene: Scene) -> None:
    wanted = [f"model-{number}" for number in range(10)]
    for name in wanted:
        scene.apply(name)
    for name in wanted:
        scene.serving(name, copies=1)
    before, texts = scene.children(), dict.fromkeys(wanted, "")

    def ask(name: str) -> None:
        with client(scene.world) as own:
            texts[name] = streamed(own, served=f"acme/{name}", tokens=600)

    threads = [threading.Thread(target=ask, args=(name,)) for name in wanted]
    for thread in threads:
        thread.start()
    with asked(scene, wanted[0], clients=2) as asking:
        replaced_operator(scene, PADDOCK_OPERATOR_IMAGE_PULL_POLICY="Always")
        for name in wanted:
            found = scene.until(name, what="drift to be told", holds=lambda status: status.get("drifted") is True)
            assert act.looked(scene.world, name=name)["Serving"]["status"] == "True", found["status"]
    whole(asking)
    assert scene.children() == before
    for thread in threads:
        thread.join()
    assert texts == dict.fromkeys(wanted, WORD * 600)
    assert scene.children() == before
    # In a maintenance window it is applied, and to that deployment alone.
    was = scene.serving(wanted[0], copies=1)
    with asked(scene, wanted[0], clients=2) as asking:
        scene.patch(wanted[0], maintenance={"hours": 24})
        scene.until(wanted[0], what="another revision", holds=lambda status: current(status) not in ("", was))
        scene.serving(wanted[0], copies=1)
    whole(asking)
    assert not scene.look(wanted[0])["status"].get("drifted", False)
    others = {key: state for key, state in before.items() if f"/{wanted[0]}-" not in key}
    after = scene.children()
    assert {key: after.get(key) for key in others} == others
