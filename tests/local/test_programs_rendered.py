import ipaddress
import json
from dataclasses import replace
from pathlib import Path

import pytest
from paddock_local import certificates, programs, programs_kubernetes, programs_nodes, programs_paddock, secret_files
from paddock_local.cri.addresses import HOSTS, Addresses
from paddock_local.errors import LocalError
from paddock_local.parts import BY_NAME, PARTS, STOP_ORDER, select
from paddock_local.paths import StackPaths
from paddock_local.ports import OFFSETS, Ports
from paddock_local.supervisor import configuration


@pytest.fixture
def context(tmp_path):
    paths = StackPaths(checkout=tmp_path, name="t")
    paths.create()
    secret_files.prepare(paths)
    return programs.Context(
        paths=paths,
        ports=Ports(7400),
        kubernetes=Path("/opt/kubernetes"),
        certificates=certificates.prepare(paths.folder("pki")),
        postgres_bin=Path("/opt/pg"),
        cri_messages=Path("/opt/cri"),
        kubeconfigs={"admin": "/a", "operator": "/o", "gateway": "/g"},
        simulation=Path("/opt/nodes"),
    )


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_every_part_has_a_whole_spec_file(context, part):
    programs.write(context, part.name, part.spec(context))
    spec = json.loads(context.paths.spec(part.name).read_text())
    assert Path(spec["argv"][0]).is_absolute()
    assert all(isinstance(word, str) for word in [*spec["argv"], *spec["env"].values()])
    assert spec["env"]["PADDOCK_STACK_FOLDER"] == str(context.paths.root)
    assert context.paths.spec(part.name).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("part", [part for part in PARTS if part.group != "paddock"], ids=lambda part: part.name)
def test_nothing_listens_beyond_this_machine(context, part):
    assert not [word for word in part.spec(context).argv if "0.0.0.0" in word]


def test_every_port_belongs_to_one_part():
    listeners = [listener for part in PARTS for listener in part.listeners]
    assert sorted(listeners) == sorted(OFFSETS)


def test_secrets_are_handed_on_as_files_except_the_database_url(context):
    password = secret_files.read(context.paths, "postgres-password")
    others = [secret_files.read(context.paths, name) for name in secret_files.NAMES if name != "postgres-password"]
    env = programs_paddock.controlplane_environment(context)
    assert password in env["PADDOCK_CONTROLPLANE_DATABASE_URL"]
    for part in PARTS:
        spec = part.spec(context)
        text = " ".join([*spec.argv, *spec.env.values()])
        assert not [secret for secret in others if secret in text]
        assert not [word for word in spec.argv if password in word]


def test_a_variable_of_the_shell_overrides_a_service_and_reaches_nothing_else(context, monkeypatch):
    monkeypatch.setenv("PADDOCK_GATEWAY_MAX_POLICY_AGE", "60")
    monkeypatch.setenv("SOMETHING_PRIVATE", "x")
    programs.write(context, "gateway", programs_paddock.gateway(context))
    env = json.loads(context.paths.spec("gateway").read_text())["env"]
    assert env["PADDOCK_GATEWAY_MAX_POLICY_AGE"] == "60"
    assert "SOMETHING_PRIVATE" not in env


def test_nobody_tries_for_ever_to_name_loopback_addresses(context):
    (chosen,) = (word for word in programs_kubernetes.controller_manager(context).argv if "--controllers=" in word)
    controllers = chosen.partition("=")[2].split(",")
    assert controllers[0] == "*"
    assert sorted(controllers[1:]) == [
        "-endpoints-controller", "-endpointslice-controller", "-endpointslice-mirroring-controller",
    ]  # fmt: skip


def test_one_binary_or_five(context, tmp_path):
    assert programs_kubernetes.etcd(context).argv[:2] == ["/opt/kubernetes", "etcd"]


def test_the_weights_volume_is_what_kubernetes_reads(context):
    volume = json.loads(programs_paddock.operator(context).env["PADDOCK_OPERATOR_WEIGHTS_VOLUME"])
    assert volume["hostPath"]["path"] == str(context.paths.folder("weights"))


def test_an_image_without_a_digest_runs_on_nodes_of_the_stack_and_on_no_others(context):
    name = "PADDOCK_OPERATOR_ALLOW_UNPINNED_IMAGES"
    assert programs_paddock.operator(context).env[name] == "False"
    own = replace(context, kubeconfigs={"operator": str(context.paths.kubeconfig("paddock-operator"))})
    assert programs_paddock.operator(own).env[name] == "True"


def test_etcd_ends_after_the_api_server_and_containers_after_the_kubelet():
    order = list(STOP_ORDER)
    assert order.index("etcd") > order.index("kube-apiserver") > order.index("CONTAINERS") > order.index("kubelet")
    assert set(order) - {"CONTAINERS"} == set(BY_NAME)


def test_select_keeps_the_starting_order():
    assert [part.name for part in select(["node", "etcd", "postgres"])] == ["postgres", "etcd", "node"]
    assert [part for part in PARTS if part not in select([])] == [BY_NAME["lws"], BY_NAME["kwok"]]


def test_what_plays_nodes_comes_with_kubernetes_where_nodes_are_asked_for():
    assert select([], simulated=True) == list(PARTS)
    assert {"kwok", "lws"} <= {part.name for part in select(["kubernetes"], simulated=True)}
    assert not {"kwok", "lws"} & {part.name for part in select(["postgres"], simulated=True)}
    assert [part.name for part in select(["nodes"])] == ["lws", "kwok"]


def test_kwok_has_our_nodes_alone_and_addresses_that_no_real_pod_gets(context):
    argv = programs_nodes.kwok(context).argv
    assert "--manage-nodes-with-label-selector=paddock.dev/simulated=true" in argv
    (cidr,) = [ipaddress.ip_network(word.removeprefix("--cidr=")) for word in argv if word.startswith("--cidr=")]
    addresses = Addresses(context.ports.pod_subnet, taken=set(), last=HOSTS * HOSTS - 1)
    assert not [address for address in (addresses.take(), addresses.take()) if ipaddress.ip_address(address) in cidr]


def test_select_names_what_there_is():
    with pytest.raises(LocalError, match="kube-apiserver"):
        select(["apisever"])


def test_supervisor_configuration_escapes_percent_signs(tmp_path):
    paths = StackPaths(checkout=tmp_path / "100%", name="t")
    text = configuration(paths, {"etcd": 15})
    assert "100%%/" in text
    assert "[program:etcd]" in text
    assert "stopwaitsecs=15" in text
