"""What the schema takes as a placement, what the operator does, and what Kubernetes takes in a pod: the same."""

import json
from typing import Any

import msgspec
import pytest
from paddock_core.resources.llamadeployment import PlacementSpec
from paddock_core.resources.placement import placement_problem

LONG = "a" * 63
TAKEN: tuple[dict[str, Any], ...] = (
    {"nodeSelector": {"example.com/pool": "llm", "zone": "", "A_b.c-d": "x.Y_z-1", f"{LONG}.b/{LONG}": LONG}},
    {"tolerations": [{"operator": "Exists"}, {"key": "a", "operator": "Exists", "value": ""}]},
    {"tolerations": [{"key": "example.com/gpu", "value": "yes", "effect": "NoSchedule"}, {"key": "a"}]},
    {"tolerations": [{"key": "", "operator": "Exists"}]},
)
REFUSED: tuple[dict[str, Any], ...] = (
    {"nodeSelector": {"bad key!": "x"}},
    {"nodeSelector": {"": "x"}},
    {"nodeSelector": {LONG + "a": "x"}},
    {"nodeSelector": {"a..b/c": "x"}},
    {"nodeSelector": {"A.example/c": "x"}},
    {"nodeSelector": {"zone": "not a value!"}},
    {"nodeSelector": {"zone": "-"}},
    {"tolerations": [{"key": "bad key!!", "operator": "Exists"}]},
    {"tolerations": [{"operator": "Equal", "value": "x"}]},
    {"tolerations": [{}]},
    {"tolerations": [{"key": "a", "operator": "Exists", "value": "x"}]},
    {"tolerations": [{"key": "a", "value": "not a value!"}]},
)


def deployment(placement: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "paddock.dev/v1alpha1",
        "kind": "LlamaDeployment",
        "metadata": {"namespace": "nobody", "name": "placed"},
        "spec": {"model": {"id": "smollm2-135m-instruct"}, "placement": placement},
    }


def pod(placement: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": "nobody", "name": "placed"},
        "spec": {"containers": [{"name": "server", "image": "registry.test/server:1"}], **placement},
    }


@pytest.mark.parametrize(("placements", "taken"), [(TAKEN, True), (REFUSED, False)])
def test_schema_operator_and_kubernetes_agree(api: Any, placements: tuple[dict[str, Any], ...], taken: bool) -> None:
    for placement in placements:
        ours = placement_problem(msgspec.convert(placement, PlacementSpec))
        assert (ours is None) is taken, (placement, ours)
        for made in (deployment(placement), pod(placement)):
            done = api.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(made))
            assert (done.returncode == 0) is taken, (made["kind"], placement, done.stderr)
