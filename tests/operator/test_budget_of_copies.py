"""A disruption budget counts over the ReplicaSets of all copies: Kubernetes' own controllers, on a real API server."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from paddock_core.resources import names
from paddock_core.resources.llamadeployment import ModelSpec, Spec

from faults.cluster.on_api import controllers

SECONDS = 120.0


def eventually(fact: Callable[[], Any], what: str) -> Any:
    """A fact once it holds. Raises AssertionError."""
    deadline = time.monotonic() + SECONDS
    while not (found := fact()):
        assert time.monotonic() < deadline, what
        time.sleep(0.2)
    return found


def test_one_copy_of_three_may_be_evicted_at_a_time(api: Any, pairs: Any, cluster_helpers: Any, tmp_path: Path) -> None:
    spec = Spec(model=ModelSpec(id="llama-3.1-8b-instruct"), replicas=3)
    manifests = pairs.rendered(spec, pairs.one_each(), tenant="budgets")
    made = [item for kind in ("PodDisruptionBudget", "ReplicaSet") for item in pairs.of_kind(manifests, kind)]
    space = made[0]["metadata"]["namespace"]
    assert len(made) == 1 + spec.replicas
    api.kubectl("create", "namespace", space)
    try:
        with controllers(api, "replicaset-controller", "disruption-controller", folder=tmp_path):
            done = api.apply(*made)
            assert done.returncode == 0, done.stderr

            def pods() -> list[dict[str, Any]]:
                items = cluster_helpers.get(api, "pods", "-n", space, "-l", names.COPY)["items"]
                return [item for item in items if "deletionTimestamp" not in item["metadata"]]

            found = eventually(lambda: len(pods()) == spec.replicas and pods(), "a pod of each copy")
            for number, pod in enumerate(found):
                cluster_helpers.ready_at(api, pod["metadata"]["name"], space, address=f"127.77.12.{number + 1}")

            def budget() -> dict[str, Any]:
                return cluster_helpers.get(api, "poddisruptionbudget", "-n", space)["items"][0].get("status") or {}

            wanted = {"expectedPods": 3, "currentHealthy": 3, "desiredHealthy": 2, "disruptionsAllowed": 1}
            eventually(lambda: wanted.items() <= budget().items(), "the budget to count three copies")
            answers = [evict(api, pod["metadata"]["name"], space) for pod in found]
            assert [answer.returncode == 0 for answer in answers] == [True, False, False]
            assert "disruption budget" in answers[1].stderr
            gone = found[0]["metadata"]["uid"]
            others = eventually(
                lambda: len(now := pods()) == spec.replicas and gone not in [item["metadata"]["uid"] for item in now],
                "its ReplicaSet to bring it back",
            )
            assert others
            hung = [pod["metadata"]["name"] for pod in found[1:]]
            for name in hung:
                cluster_helpers.hangs(api, name, space)
            eventually(lambda: budget().get("currentHealthy") == 0, "the budget to count no copy that answers")
            answers = [evict(api, name, space) for name in hung]
            assert [answer.returncode for answer in answers] == [0, 0], "pods that hang keep no node from being drained"
    finally:
        api.kubectl("delete", "replicasets,poddisruptionbudgets,pods", "--all", "-n", space, "--force")


def evict(api: Any, name: str, namespace: str) -> Any:
    """What `kubectl drain` asks for."""
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": namespace}}
    path = f"/api/v1/namespaces/{namespace}/pods/{name}/eviction"
    return api.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(body))
