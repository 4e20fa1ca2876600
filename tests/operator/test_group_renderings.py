"""Every pair of a model and a GPU that matters, rendered; and the rules of groups. PADDOCK_RENEW_GOLDEN=1 renews."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import text_format
from paddock_core.planning.gpus import hypothetical
from paddock_core.planning.types import Plan
from paddock_core.resources import names
from paddock_core.resources.llamadeployment import ModelSpec, PlacementSpec, Spec
from paddock_core.serving.contract import MODEL_NAME
from paddock_operator.errors import SettingsError
from paddock_operator.kinds import KUEUE_QUEUE
from paddock_operator.manifests.group_keys import key_pair, seed
from paddock_operator.networks import offered, packaged
from tritonclient.grpc import model_config_pb2

GOLDEN = Path(__file__).parent / "golden"


def compare(file: Path, text: str) -> None:
    if os.environ.get("PADDOCK_RENEW_GOLDEN"):
        file.write_text(text)
    assert text == file.read_text()


def dumped(document: Any) -> str:
    class Plain(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    return yaml.dump(document, Dumper=Plain, sort_keys=False, width=120)


def test_golden_pairs(pairs: Any) -> None:
    found: dict[str, Any] = {}
    kinds = set()
    for model, gpu, precision in pairs.PAIRS:
        spec = pairs.pair_spec(model, precision)
        answer = pairs.planned(spec, hypothetical(gpu=gpu))
        if isinstance(answer, Plan):
            manifests = pairs.rendered(spec, hypothetical(gpu=gpu))
            config = pairs.repository(manifests)[f"{MODEL_NAME}/config.pbtxt"]
            assert text_format.Parse(config, model_config_pb2.ModelConfig()).name == MODEL_NAME
            said = pairs.summary(manifests)
            assert (said["model"]["tensor_parallel_size"], said["pods"]) == (
                answer.tensor_parallel,
                answer.pods_per_group,
            )
            kinds.add(said["kind"])
        else:
            said = {"refused": str(answer.reason)}
        found[f"{model} on {gpu} in {precision}"] = said
    assert kinds == {"ReplicaSet", "LeaderWorkerSet"}
    compare(GOLDEN / "pairs.yaml", dumped(found))


def test_golden_405b_on_two_nodes(pairs: Any) -> None:
    spec = pairs.pair_spec("llama-3.1-405b-instruct", "bf16")
    compare(GOLDEN / "llama-3.1-405b-on-two-h100-nodes.yaml", dumped(pairs.rendered(spec, hypothetical(gpu="H100-80"))))


@pytest.fixture
def group(pairs: Any) -> Any:
    """The manifests of two small groups."""
    return pairs.rendered(pairs.two_nodes(), pairs.one_each())


def test_every_copy_is_a_group_of_its_own_that_waits_for_nobody(pairs: Any, group: Any) -> None:
    assert pairs.of_kind(group, "ReplicaSet") == []
    sets = pairs.of_kind(group, "LeaderWorkerSet")
    labels = [item["metadata"]["labels"] for item in sets]
    assert [item["metadata"]["name"] for item in sets] == [label[names.COPY] for label in labels]
    assert len({label[names.COPY] for label in labels}) == len(sets) == 2
    assert len({label[names.REVISION] for label in labels}) == 1
    for item in sets:
        spec, template = item["spec"], item["spec"]["leaderWorkerTemplate"]
        assert (spec["replicas"], template["size"], spec["startupPolicy"]) == (1, 2, "LeaderCreated")
        assert template["restartPolicy"] == "RecreateGroupAfterStart"
        assert spec["networkConfig"] == {"subdomainPolicy": "UniquePerReplica"}
        leader, worker = (template[name]["spec"]["containers"][0] for name in ("leaderTemplate", "workerTemplate"))
        assert (leader["args"], worker["args"]) == (["serve"], ["serve-worker"])
        assert worker["readinessProbe"]["tcpSocket"] == {"port": 2233}
        assert not {"startupProbe", "livenessProbe"} & set(worker)
        assert leader["resources"] == worker["resources"]


def test_the_leader_alone_is_named_and_knows_the_secret(pairs: Any, group: Any) -> None:
    for kind in ("PodMonitor", "InferencePool"):
        spec = pairs.of_kind(group, kind)[0]["spec"]
        selector = spec["selector"].get("matchLabels", spec["selector"])
        assert selector[names.WORKER_INDEX] == names.LEADER_INDEX
    variables = [{item["name"] for item in pod["containers"][0]["env"]} for pod in pairs.pod_specs(group)]
    assert ["PADDOCK_SERVING_TRITON_SECRET" in found for found in variables] == [True, False] * 2
    assert all("PADDOCK_SERVING_GROUP_KEYS" in found and "NCCL_IB_DISABLE" in found for found in variables)


def test_pods_of_a_group_reach_one_another_and_nobody_else(pairs: Any, group: Any) -> None:
    for item in pairs.of_kind(group, "LeaderWorkerSet"):
        name = item["metadata"]["name"]
        policy = next(found for found in pairs.of_kind(group, "NetworkPolicy") if found["metadata"]["name"] == name)
        members = {"podSelector": {"matchLabels": {names.GROUP: name}}}
        assert policy["spec"]["ingress"] == [{"from": [members]}]
        assert policy["spec"]["egress"][0] == {"to": [members]}
        resolvers = policy["spec"]["egress"][1:]
        assert {port["port"] for rule in resolvers for port in rule["ports"]} == {53, 5353}
        # Resolvers are other pods in some clusters, in other namespaces, and an address of the node in some.
        assert resolvers[0]["to"] == [{"namespaceSelector": {}}, {"ipBlock": {"cidr": "169.254.20.10/32"}}]
        for template in ("leaderTemplate", "workerTemplate"):
            labels = item["spec"]["leaderWorkerTemplate"][template]["metadata"]["labels"]
            assert labels[names.GROUP] == name
            assert labels["llm-d.ai/engine-type"] == "triton-tensorrt-llm"


@pytest.mark.parametrize(("network", "kept"), [(None, []), ("infiniband", ["IPC_LOCK"]), ("efa", [])])
def test_a_network_brings_its_devices_and_the_capability_that_it_names(pairs: Any, network: Any, kept: Any) -> None:
    spec = pairs.two_nodes(placement=PlacementSpec(network=network))
    made = pairs.rendered(spec, pairs.one_each())
    for pod in pairs.pod_specs(made):
        container = pod["containers"][0]
        assert container["securityContext"]["capabilities"].get("add", []) == kept
        assert pod["securityContext"]["runAsNonRoot"] is True
        for name, count in packaged()[network or "tcp"].resources.items():
            assert container["resources"]["limits"][name] == str(count)
    single = pairs.rendered(replace_model(pairs, network), hypothetical(gpu="H100-80"))
    assert "add" not in pairs.pod_specs(single)[0]["containers"][0]["securityContext"]["capabilities"]


def replace_model(pairs: Any, network: Any) -> Any:
    return pairs.pair_spec("llama-3.1-8b-instruct", "bf16", network=network)


def test_only_the_platforms_offer_lowers_the_security_of_a_namespace(pairs: Any) -> None:
    levels = []
    for names_offered in (("tcp", "efa"), ("tcp", "infiniband")):
        config = replace(pairs.CONFIG, networks=offered(names_offered))
        made = pairs.rendered(pairs.two_nodes(), pairs.one_each(), config=config)
        levels.append(pairs.of_kind(made, "Namespace")[0]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"])
    assert levels == ["restricted", "privileged"]


def test_a_platform_brings_a_network_of_its_own(tmp_path: Path) -> None:
    text = "name: infiniband\ntitle: ours\nresources: {rdma/ours: 2}\ncapabilities: [IPC_LOCK]\n"
    (tmp_path / "ours.yaml").write_text(text)
    assert offered(("infiniband",), folder=tmp_path)[0].resources == {"rdma/ours": 2}
    with pytest.raises(SettingsError, match="no network profile roce; there are: efa, infiniband, tcp"):
        offered(("roce",))


def test_what_optional_apis_have_is_rendered_only_where_they_are(pairs: Any) -> None:
    spec = pairs.two_nodes(placement=PlacementSpec(scheduler_name="volcano", queue="gold"))
    with_all = {item["kind"] for item in pairs.rendered(spec, pairs.one_each())}
    without = {item["kind"] for item in pairs.rendered(spec, pairs.one_each(), apis=frozenset())}
    assert with_all - without == {"PodGroup", "PodMonitor", "InferencePool"}


def test_the_key_pair_is_one_that_openssh_takes_and_the_same_each_time(tmp_path: Path) -> None:
    made_from = seed(platform_key=b"key", deployment_uid="u1", rotation=0)
    pair = key_pair(made_from)
    assert pair == key_pair(made_from)
    assert pair != key_pair(seed(platform_key=b"key", deployment_uid="u2", rotation=0))
    from cryptography.hazmat.primitives.serialization import load_ssh_private_key, load_ssh_public_key

    own, public = load_ssh_private_key(pair.private.encode(), None), load_ssh_public_key(pair.public.encode())
    assert own.public_key() == public
    file = tmp_path / "id"
    file.write_text(pair.private)
    file.chmod(0o600)
    try:
        said = subprocess.run(["ssh-keygen", "-y", "-f", str(file)], capture_output=True, text=True, check=True)
    except FileNotFoundError:
        pytest.skip("ssh-keygen is not installed: only the library read the pair")
    assert said.stdout.split()[:2] == pair.public.split()


@pytest.mark.parametrize("name", ["d" * 40, "a", "d" * 28 + "-ee"])
def test_names_of_copies_leave_room_for_what_is_appended_to_them(name: str) -> None:
    made = [
        names.copy_name(namespace="n" * 63, name=name, revision=revision, index=index)
        for revision in ("01234567", "89abcdef")
        for index in (0, 63)
    ]
    # The controller's StatefulSet of workers is `<group>-0`, and its revision `<that>-<10 characters>` is a label.
    assert max(map(len, made)) + len("-0") + len("-0123456789") <= 63
    assert len(set(made)) == 4
    assert names.copy_name(namespace="m", name=name, revision="01234567", index=0) != made[0]
    assert "--" not in "".join(made)


def test_kueue_admits_the_pods_of_a_copy_of_one_node_and_a_group_as_a_whole(pairs: Any) -> None:
    placement = PlacementSpec(queue="gold")
    alone = pairs.rendered(Spec(model=ModelSpec(id="llama-3.1-8b-instruct"), placement=placement), pairs.one_each())
    (copy,) = pairs.of_kind(alone, "ReplicaSet")
    assert copy["spec"]["template"]["metadata"]["labels"][KUEUE_QUEUE] == "gold"
    assert KUEUE_QUEUE not in copy["metadata"]["labels"], "it knows no ReplicaSets"
    groups = pairs.rendered(pairs.two_nodes(placement=placement), pairs.one_each())
    for group in pairs.of_kind(groups, "LeaderWorkerSet"):
        assert group["metadata"]["labels"][KUEUE_QUEUE] == "gold"
        templates = group["spec"]["leaderWorkerTemplate"]
        pods = (templates["leaderTemplate"], templates["workerTemplate"])
        assert not [pod for pod in pods if KUEUE_QUEUE in pod["metadata"]["labels"]], "no pod is admitted twice"
