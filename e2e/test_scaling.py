"""Copies follow what is asked, on simulated nodes: up under load, to zero without a cut answer, woken by a request.

Gateway, control plane, operator, API server with controllers and scheduler are the real ones; nodes, weights and
Triton's answers are played (responder.py).
"""

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
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
from e2e.responder import WORD, playing
from faults.scene import kill_part

NAME = "scaling"
NODES = ["6xL40S-48x1"]
NO_REAL_NODE = ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "nodes", "postgres", "paddock"]
SECONDS = 600.0
PACE_SECONDS = 0.05
MODEL = {
    "apiVersion": "paddock.dev/v1alpha1",
    "kind": "LlamaModel",
    "metadata": {"name": "demo-elastic"},
    "spec": {
        "base": "smollm2-135m-instruct",
        "publicName": "Demo-Elastic",
        "owner": "acme",
        "weights": {
            "precision": "bf16",
            "format": "safetensors",
            "bytes": 269_060_552,
            "source": {"kind": "huggingface", "repository": "acme/demo-elastic"},
            "revision": "0" * 40,
            "files": [{"name": "model.safetensors", "bytes": 269_060_552, "sha256": "0" * 64}],
        },
    },
}
SCALING = {
    "minReplicas": 0,
    "maxReplicas": 3,
    "inFlightPerReplica": 4,
    "scaleDownDelaySeconds": 10,
    "idleSeconds": 15,
    "holdSeconds": 120,
}
ELASTIC = act.deployment("elastic", model="demo-elastic") | {
    "spec": {
        "model": {"id": "demo-elastic"},
        "engine": {"type": "LLMAPI", "contextLength": 2048, "maxConcurrency": 16},
        "placement": {"gpu": "L40S-48"},
        "scaling": SCALING,
    }
}
SERVED = "acme/elastic"
pytestmark = pytest.mark.stack


def base() -> int:
    """First port of this stack: apart from the other tests' stacks, which may run at the same time."""
    return (LocalSettings().port_base or DEFAULT_BASES["e2e"]) + 4 * BLOCK


@pytest.fixture(scope="module")
def world(watched: Callable[[Stack], None]) -> Iterator[World]:
    """A stack of simulated nodes alone, with acme licensed and given GPUs, and its deployment applied."""
    stack = Stack(NAME, settings=LocalSettings(port_base=base()))
    stack.down(progress=Progress(), erase=True)
    try:
        stack.up(progress=Progress(), only=NO_REAL_NODE, nodes=NODES)
        watched(stack)
        found = make_world(stack)(Narrator(Console(stderr=True)))
        found.memory["stack"] = stack
        steps.register(found)
        steps.accept(found, party=TENANTS["acme"], role="deployer", who="acme")
        found.paddock("quota", "set", "--tenant", "acme", "--gpus", "8")
        key = stack.paths.secret("platform-key").read_bytes().strip()
        with playing(stack.kubeconfig, platform_key=key, pace_seconds=PACE_SECONDS):
            assert act.apply(found, MODEL, who="kubernetes-admin").code == 0
            assert act.apply(found, ELASTIC).code == 0
            yield found
        found.close()
    finally:
        if not LocalSettings().keep:
            stack.down(progress=Progress(), erase=True)


def status(world: World) -> dict[str, Any]:
    return dict(world.deployment("elastic").get("status", {}))


def answering(world: World) -> int:
    """Copies that requests go to."""
    targets = status(world).get("routing", {}).get("targets", [])
    return sum(len(target.get("endpoints", [])) for target in targets)


def workloads(world: World) -> list[str]:
    """Copies that are there, whether they answer or not."""
    found = world.kubectl("get", "replicasets", "-n", act.SERVING, "-o", "json", who="kubernetes-admin").json["items"]
    return [item["metadata"]["name"] for item in found if "deletionTimestamp" not in item["metadata"]]


def until(world: World, copies: int) -> None:
    """Wait until so many answer, and no others are there."""
    act.eventually(
        lambda: answering(world) == copies == len(workloads(world)), what=f"{copies} copies", seconds=SECONDS
    )


def serving_reason(world: World) -> str:
    found = {item["type"]: item["reason"] for item in status(world).get("conditions", [])}
    return str(found.get("Serving", ""))


def test_load_adds_copies_and_quiet_takes_them_away_without_a_cut_answer(world: World) -> None:
    until(world, 1)
    # Those few answer for 20 s each, so some are in the copies that go.
    with Asking(world, clients=3, served=SERVED, tokens=400) as few:
        with Asking(world, clients=9, served=SERVED) as many:
            until(world, 3)
            scaled = status(world)["scaling"]
            assert scaled["desiredReplicas"] == 3
            assert "4 for a copy" in scaled["reason"]
        until(world, 1)
    assert many.problems == few.problems == []
    assert many.whole >= many.clients, "at least the answer that each was in when the copies had come"
    assert few.whole >= few.clients
    (revision,) = status(world)["revisions"]
    assert revision["benchmark"]["requests"] == 8, "the first copy was tried before"


def test_nobody_asks_and_the_last_copy_goes_until_a_request_wakes_it(world: World) -> None:
    until(world, 0)
    act.eventually(lambda: serving_reason(world) == "ScaledToZero", what="the condition to say so", seconds=SECONDS)
    assert status(world)["scaling"]["reason"] == f"nobody has asked for {SCALING['idleSeconds']} s"
    with client(world) as own:
        assert streamed(own, served=SERVED, tokens=3) == WORD * 3
    assert status(world)["scaling"]["desiredReplicas"] == 1
    assert serving_reason(world) == "Serving"


def test_an_operator_that_was_killed_goes_on_where_it_was(world: World) -> None:
    until(world, 0)
    stack: Stack = world.memory["stack"]
    answers: list[str] = []

    def ask() -> None:
        with client(world) as own:
            answers.append(streamed(own, served=SERVED, tokens=100))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        act.eventually(lambda: len(workloads(world)) == 1, what="a copy to be started", seconds=SECONDS)
        kill_part(stack, "operator")
    finally:
        thread.join()
    assert answers == [WORD * 100]
    asked = json.dumps(status(world)["scaling"])
    kill_part(stack, "operator")
    until(world, 0)
    assert status(world)["scaling"]["desiredReplicas"] == 0, asked
