import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paddock_core.planning.gpus import gpu_table, inventory_of
from paddock_local import gpu_nodes, simulation
from paddock_local.errors import LocalError
from paddock_local.gpu_nodes import GpuNodes
from paddock_local.paths import find_checkout

SHAPES = st.builds(
    GpuNodes, nodes=st.integers(1, 20), gpu=st.sampled_from(sorted(gpu_table())), gpus=st.integers(1, 16)
)
LWS = """
kind: CustomResourceDefinition
metadata: {name: leaderworkersets}
spec: {conversion: {strategy: Webhook, webhook: {clientConfig: {service: {name: w, path: /convert}}}}}
---
kind: ClusterRoleBinding
metadata: {name: b}
subjects: [{kind: ServiceAccount, name: lws, namespace: lws-system}]
---
kind: ValidatingWebhookConfiguration
metadata: {name: v}
webhooks: [{name: pods, clientConfig: {service: {name: w, path: /validate--v1-pod}}}]
---
kind: Deployment
metadata: {name: manager}
---
kind: Secret
metadata: {name: certificates}
"""


@given(SHAPES)
def test_a_shape_is_read_as_it_is_written(shape):
    assert gpu_nodes.parse_all([str(shape)]) == [shape]


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "4xH100-80x8"), ("H100-80", "4xH100-80x8"), ("4xNONEx8", "H200-141"), ("1201xH100-80x8", "at most 1200")],
)
def test_what_is_no_shape_is_refused_with_what_to_write(text, said):
    with pytest.raises(LocalError, match=re.escape(said)):
        gpu_nodes.parse_all([text])


@given(st.lists(SHAPES, max_size=4))
def test_the_planner_reads_from_the_nodes_what_was_asked_for(shapes):
    wanted = {}
    for shape in shapes:
        wanted[shape.gpu, shape.gpus] = wanted.get((shape.gpu, shape.gpus), 0) + shape.nodes
    made = gpu_nodes.documents(gpu_nodes.parse_all(map(str, shapes)))
    assert len({node["metadata"]["name"] for node in made}) == len(made)
    found = inventory_of(made)
    assert {(pool.gpu.id, pool.gpus_per_node): pool.nodes for pool in found.pools} == wanted


def test_only_pods_that_ask_for_gpus_go_there():
    (node,) = gpu_nodes.documents(gpu_nodes.parse_all(["1xL40S-48x4"]))
    assert node["spec"]["taints"] == [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}]
    assert node["status"]["allocatable"]["nvidia.com/gpu"] == "4"


def test_the_controller_gets_its_rights_and_hooks_on_this_machine_and_nothing_that_would_run_it_again(tmp_path):
    (tmp_path / "lws.yaml").write_text(LWS)
    (tmp_path / "kwok-rights.yaml").write_text("kind: FlowSchema\nmetadata: {name: kwok}\n")
    made = simulation.documents(tmp_path, webhook_port=7414, authority=b"PEM")
    assert [item["kind"] for item in made] == [
        "CustomResourceDefinition",
        "ClusterRoleBinding",
        "ValidatingWebhookConfiguration",
    ]
    assert made[1]["subjects"] == [
        {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "lws-controller-manager"}
    ]
    assert "service" not in json.dumps(made)
    urls = re.findall(r"https://[^\"]+", json.dumps(made))
    assert urls == ["https://127.0.0.1:7414/convert", "https://127.0.0.1:7414/validate--v1-pod"]


def test_every_program_is_a_tool_of_the_module():
    module = (find_checkout() / simulation.MODULE / "go.mod").read_text()
    tools = set(re.findall(r"^(?:tool |\t)(\S+/cmd\S*)$", module, re.MULTILINE))
    assert tools == set(simulation.PROGRAMS.values())
