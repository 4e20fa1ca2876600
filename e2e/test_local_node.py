"""The node is a real one: the kubelet's promises hold for containers that are processes, also after kills."""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import yaml
from paddock_local import kubectl, secret_files
from paddock_local.cri import tree
from paddock_local.cri.files import read_json
from paddock_local.errors import StackError

pytestmark = pytest.mark.stack

IMAGE = "localhost/paddock/serving:0.1.0"
SERVER = """
echo "greeting $GREETING from $POD_IP"
mkdir -p /tmp/www && cd /tmp/www && echo ok > healthz
trap 'echo leaving; exit 0' TERM
python3 -m http.server --bind "$POD_IP" 8080 >/dev/null 2>&1 &
wait
"""
CONFIG = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "greeting"},
    "data": {"GREETING": "hello"},
}


def pod(name: str, script: str, **container: Any) -> dict[str, Any]:
    env = [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]
    spec: dict[str, Any] = {
        "name": "main",
        "image": IMAGE,
        "command": ["sh", "-c", script],
        "env": env,
        "envFrom": [{"configMapRef": {"name": "greeting"}}],
    }
    volumes = container.pop("volumes", [])
    policy = container.pop("restartPolicy", "Always")
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "containers": [spec | container],
            "volumes": volumes,
            "restartPolicy": policy,
            "terminationGracePeriodSeconds": 20,
        },
    }


class Cluster:
    """kubectl with the administrator's rights."""

    def __init__(self, stack: Any) -> None:
        self._stack = stack

    def __call__(self, *arguments: str, stdin: str | None = None) -> str:
        return kubectl.run(self._stack.kubectl, self._stack.kubeconfig, *arguments, stdin=stdin)

    def apply(self, *documents: dict[str, Any]) -> None:
        self("apply", "-f", "-", stdin=yaml.safe_dump_all(documents))

    def pod(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self("get", "pod", name, "-o", "json"))
        return found

    def ready(self, name: str, seconds: int = 300) -> dict[str, Any]:
        self("wait", "--for=condition=Ready", f"pod/{name}", f"--timeout={seconds}s")
        return self.pod(name)

    def phase(self, name: str, wanted: str) -> None:
        self("wait", f"--for=jsonpath={{.status.phase}}={wanted}", f"pod/{name}", "--timeout=60s")


def eventually(probe: Callable[[], Any], *, seconds: float = 300) -> Any:
    deadline = time.monotonic() + seconds
    while True:
        found = probe()
        if found:
            return found
        if time.monotonic() > deadline:
            pytest.fail("it did not come true in time")
        time.sleep(0.2)


@pytest.fixture(scope="module")
def cluster(node):
    found = Cluster(node)
    eventually(lambda: "default" in found("get", "serviceaccounts", "-o", "name"))
    found.apply(CONFIG)
    return found


@pytest.fixture
def server(cluster):
    """A pod that answers an HTTP probe on its own address."""
    probe = {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1}
    cluster.apply(pod("server", SERVER, readinessProbe=probe))
    yield cluster.ready("server")
    cluster("delete", "pod", "server", "--ignore-not-found", "--now")


def processes(node, pod):
    """The processes of a pod's container, its own first."""
    container = pod["status"]["containerStatuses"][0]["containerID"].removeprefix("paddock-processes://")
    state = read_json(node.paths.folder("data") / "node" / "containers" / container / "running.json")
    found = tree.members(state["namespace"])
    return [state["pid"], *sorted(pid for pid in found if pid != state["pid"])]


def test_a_pod_is_ready_by_its_probe_with_its_own_address_and_configuration(node, cluster, server):
    assert server["status"]["podIP"].startswith(node.ports.pod_subnet + ".")
    assert f"greeting hello from {server['status']['podIP']}" in cluster("logs", "server")


def test_a_killed_container_is_restarted_with_its_whole_tree_gone(node, cluster, server):
    before = processes(node, server)
    assert len(before) >= 2
    os.kill(before[0], signal.SIGKILL)
    restarted = eventually(lambda: cluster.pod("server")["status"]["containerStatuses"][0]["restartCount"] == 1)
    assert restarted
    cluster.ready("server")
    assert not [pid for pid in before if tree.start_time(pid) is not None]
    last = cluster.pod("server")["status"]["containerStatuses"][0]["lastState"]["terminated"]
    assert last["exitCode"] == 137
    assert "greeting hello" in cluster("logs", "server", "--previous")


def test_a_killed_runtime_and_kubelet_adopt_what_runs(node, cluster, server, kill):
    before = processes(node, server)
    kill("cri")
    kill("kubelet")
    kill("node")
    assert processes(node, cluster.ready("server")) == before
    assert cluster.pod("server")["status"]["containerStatuses"][0]["restartCount"] == 0
    # Adopted means ruled: the next end of it is noticed, and the logs go on.
    os.kill(before[0], signal.SIGKILL)
    eventually(lambda: cluster.pod("server")["status"]["containerStatuses"][0]["restartCount"] == 1)


def test_deletion_is_graceful_and_leaves_no_process(node, cluster):
    cluster.apply(pod("polite", SERVER.replace("echo leaving", "echo leaving > /proof/left"), **proof_volume(node)))
    before = processes(node, cluster.ready("polite"))
    cluster("delete", "pod", "polite", "--wait=true", "--timeout=60s")
    assert (proof_folder(node) / "left").read_text() == "leaving\n"
    assert not [pid for pid in before if tree.start_time(pid) is not None]


def proof_folder(node):
    folder: Path = node.paths.folder("cache") / "proof"
    folder.mkdir(exist_ok=True)
    return folder


def proof_volume(node, *, read_only=False):
    return {
        "volumeMounts": [{"name": "proof", "mountPath": "/proof", "readOnly": read_only}],
        "volumes": [{"name": "proof", "hostPath": {"path": str(proof_folder(node)), "type": "Directory"}}],
    }


ISOLATION = """
set -u
try() {{ if "$@" 2>/dev/null; then echo "yes $*"; else echo "no $*"; fi; }}
try touch /usr/bin/mine
try touch {checkout}/mine
try touch /proof/mine
try touch /tmp/mine
try touch /dev/shm/mine
try test -e {secret}
try test -s /config/GREETING
try test -s /var/run/secrets/kubernetes.io/serviceaccount/token
try sh -c 'echo 1 > /proc/sys/vm/overcommit_memory'
try mount -o remount,rw /usr
echo "leaked:$(env | grep -c PADDOCK_STACK)"
"""


def test_a_container_sees_the_machine_read_only_and_no_secret_of_the_stack(node, cluster):
    volumes = proof_volume(node, read_only=True)
    volumes["volumeMounts"].append({"name": "config", "mountPath": "/config"})
    volumes["volumes"].append({"name": "config", "configMap": {"name": "greeting"}})
    script = ISOLATION.format(checkout=node.paths.checkout, secret=node.paths.secret("platform-key"))
    cluster.apply(pod("curious", script, restartPolicy="Never", **volumes))
    cluster.phase("curious", "Succeeded")
    said = cluster("logs", "curious")
    cluster("delete", "pod", "curious", "--now")
    allowed = [line.split(" ", 1)[1] for line in said.splitlines() if line.startswith("yes ")]
    assert allowed == [
        "touch /tmp/mine",
        "touch /dev/shm/mine",
        "test -s /config/GREETING",
        "test -s /var/run/secrets/kubernetes.io/serviceaccount/token",
    ]
    assert "leaked:0" in said


def test_a_pod_of_the_restricted_profile_runs_though_the_node_has_one_user(cluster):
    document = pod("careful", "cat /e/none 2>/dev/null; touch /e/x && ls /e", restartPolicy="Never")
    security = {"runAsNonRoot": True, "runAsUser": 65532, "fsGroup": 65532}
    document["spec"]["securityContext"] = security | {"seccompProfile": {"type": "RuntimeDefault"}}
    main = document["spec"]["containers"][0]
    main["securityContext"] = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    main["volumeMounts"] = [{"name": "e", "mountPath": "/e"}]
    document["spec"]["volumes"] = [{"name": "e", "emptyDir": {"medium": "Memory"}}]
    cluster.apply(document)
    cluster.phase("careful", "Succeeded")
    assert cluster("logs", "careful") == "x\n"
    cluster("delete", "pod", "careful", "--now")


def test_an_image_that_the_node_does_not_have_is_refused_with_a_reason(cluster):
    cluster.apply(pod("stranger", "true", image="docker.io/library/nginx:1"))
    try:
        told = eventually(lambda: [e for e in events(cluster, "stranger") if "runs only the images listed" in e])
        assert "localhost/paddock/serving" in told[0]
    finally:
        cluster("delete", "pod", "stranger", "--now")


def events(cluster, name):
    found = json.loads(cluster("get", "events", "-o", "json", f"--field-selector=involvedObject.name={name}"))
    return [event["message"] for event in found["items"]]


def test_a_command_that_does_not_exist_fails_with_its_name(cluster):
    cluster.apply(pod("typo", "true", command=["/no/such/program"], restartPolicy="Never"))
    try:
        told = eventually(lambda: [e for e in events(cluster, "typo") if "/no/such/program" in e])
        assert "cannot start the container" in told[0]
    finally:
        cluster("delete", "pod", "typo", "--now")


def test_exec_probes_run_inside_the_container(cluster):
    probe = {"exec": {"command": ["test", "-f", "/tmp/alive"]}, "periodSeconds": 1, "failureThreshold": 1}
    cluster.apply(pod("probed", "touch /tmp/alive; sleep 3; rm /tmp/alive; sleep 60", readinessProbe=probe))
    cluster.ready("probed")
    cluster("wait", "--for=condition=Ready=false", "pod/probed", "--timeout=60s")
    cluster("delete", "pod", "probed", "--now")


def test_a_streaming_exec_says_that_it_is_not_offered(cluster, server):
    with pytest.raises(StackError, match="not offered by the local node"):
        cluster("exec", "server", "--", "true")


@pytest.mark.parametrize("part", ["etcd", "kube-apiserver"])
def test_a_killed_control_plane_comes_back_and_pods_run_on(node, cluster, server, kill, part):
    before = processes(node, server)
    kill(part)
    eventually(lambda: answers(cluster))
    assert processes(node, server) == before
    cluster.apply(pod("after", "sleep 60"))
    cluster.ready("after")
    cluster("delete", "pod", "after", "--now")


def answers(cluster):
    try:
        return "ok" in cluster("get", "--raw", "/readyz")
    except StackError:
        return False


async def test_a_killed_postgres_keeps_what_was_committed(node, kill):
    async def connect() -> Any:
        password = secret_files.read(node.paths, "postgres-password")
        port = node.ports["postgres"]
        return await asyncpg.connect(host="127.0.0.1", port=port, user="paddock", password=password, database="paddock")

    connection = await connect()
    await connection.execute("CREATE TABLE kept AS SELECT 42 AS value")
    kill("postgres")
    deadline = time.monotonic() + 300
    while True:
        try:
            connection = await connect()
            break
        except (OSError, asyncpg.PostgresError):
            assert time.monotonic() < deadline
    assert await connection.fetchval("SELECT value FROM kept") == 42
    await connection.execute("DROP TABLE kept")
    await connection.close()


def test_no_kernel_parameter_was_changed(node, kernel_parameters):
    """Run as plain root, the kubelet sets these to values of its own."""
    assert {name: Path("/proc/sys", name).read_text() for name in kernel_parameters} == kernel_parameters
