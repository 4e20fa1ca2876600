"""A cluster for `bench/scale.py`: real etcd, API server, controllers, scheduler and LeaderWorkerSet, simulated nodes.

Everything is started on free ports of this machine, away from every stack, and stopped at the end.
"""

import contextlib
import datetime as dt
import ipaddress
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from paddock_local import bare_kubernetes as kube_api
from paddock_local import gpu_nodes, simulation
from paddock_local.progress import Progress

REPOSITORY = Path(__file__).resolve().parents[1]
SUBNET = ipaddress.IPv4Network("127.240.0.0/16")
"""Addresses of simulated pods: apart from those of the local stacks."""
QPS = ("--kube-api-qps=2000", "--kube-api-burst=4000")
"""The default of 20 requests a second would be all that is measured."""
USERS = ("manager", "scheduler", "kwok", "lws", "bench")
"""Users of the group of administrators; audited are only the requests of the operator and of the bare client."""
CONTROLLERS_ON = (
    "replicaset-controller", "statefulset-controller", "job-controller",
    "garbage-collector-controller", "pod-garbage-collector-controller", "namespace-controller",
    "serviceaccount-controller", "resourcequota-controller", "disruption-controller", "node-lifecycle-controller",
    "taint-eviction-controller", "ttl-after-finished-controller",
)  # fmt: skip
"""Whoever acts on what the operator makes, or on nodes. The others would only keep lists of what is not there; those of
endpoints would refuse the loopback addresses of groups' pods for ever."""
GARBAGE = {"GOGC": "400"}
"""Of the programs in Go: there is memory, and collecting it at the default pace takes an eighth of their time."""
AUDITED = ("paddock-operator", "bare-client")
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived", "ResponseStarted"],
    "omitManagedFields": True,
    "rules": [{"level": "Metadata", "users": [*AUDITED]}, {"level": "None"}],
}


def load(name: str) -> ModuleType:
    """A helper of the operator's tests, which a bench that is started as a file does not find by itself."""
    if str(REPOSITORY) not in sys.path:
        sys.path.append(str(REPOSITORY))
    return import_module(f"tests.operator.{name}")


def make_certificate(folder: Path) -> bytes:
    """A self-signed certificate of this machine, `tls.crt` and `tls.key` in a folder; the certificate itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "benchmark")])
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + dt.timedelta(days=1))
    own = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    signed = builder.add_extension(own, critical=False).sign(key, hashes.SHA256())
    certificate = signed.public_bytes(serialization.Encoding.PEM)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tls.crt").write_bytes(certificate)
    kinds = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "tls.key").write_bytes(key.private_bytes(*kinds))
    return certificate


@contextlib.contextmanager
def running_cluster(folder: Path) -> Iterator[Any]:
    """A KubeApi with controllers, scheduler and whoever plays the nodes, of which there are none yet."""
    kube_api.USERS.update({name: (name, "system:masters") for name in USERS})
    # The bare client may do what it likes; it is not exempt from the API server's fairness, as the operator is not.
    kube_api.USERS["bare"] = ("bare-client", "bare")
    os.environ.update(GARBAGE)
    (folder / "audit.yaml").write_text(yaml.safe_dump(AUDIT_POLICY))
    audited = (f"--audit-policy-file={folder / 'audit.yaml'}", f"--audit-log-path={folder / 'audit.log'}")
    with (
        kube_api.free_ports() as first,
        kube_api.free_ports() as second,
        kube_api.running_api(folder, base_port=first, flags=audited) as api,
        contextlib.ExitStack() as programs,
    ):
        _may_do_all(api, "bare")
        found = simulation.ensure(REPOSITORY, progress=Progress())
        for command in _programs(api, found, folder, port=second, binary=kube_api.find_binary()):
            programs.enter_context(_process(command, folder))
        yield api


def _programs(api: Any, found: Path, folder: Path, *, port: int, binary: Path) -> list[list[str]]:
    """Install LeaderWorkerSet, and the commands of everything that acts beside the operator."""
    authority = make_certificate(folder / "lws")
    for document in simulation.documents(found, webhook_port=port + 3, authority=authority):
        done = api.apply(document)
        assert done.returncode == 0, done.stderr
    webhook = {"host": "127.0.0.1", "port": port + 3, "certDir": str(folder / "lws")}
    configuration = {
        "apiVersion": "config.lws.x-k8s.io/v1alpha1", "kind": "Configuration", "webhook": webhook,
        "internalCertManagement": {"enable": False}, "leaderElection": {"leaderElect": False},
        "metrics": {"bindAddress": "0"}, "health": {"healthProbeBindAddress": f"127.0.0.1:{port + 4}"},
        "clientConnection": {"qps": 2000, "burst": 4000},
    }  # fmt: skip
    (folder / "lws-configuration.yaml").write_text(yaml.safe_dump(configuration))
    (folder / "home").mkdir()
    common = ("--leader-elect=false", "--bind-address=127.0.0.1", *QPS)
    return [
        [str(binary), "kube-controller-manager", f"--kubeconfig={api.kubeconfigs['manager']}", *common,
         f"--secure-port={port}", f"--controllers={','.join(CONTROLLERS_ON)}",
         f"--service-account-private-key-file={folder / 'sa.key'}",
         "--concurrent-replicaset-syncs=10", "--node-monitor-grace-period=20m"],
        [str(binary), "kube-scheduler", f"--config={_scheduler(api, folder)}", "--bind-address=127.0.0.1",
         f"--secure-port={port + 1}"],
        ["env", f"HOME={folder / 'home'}", str(found / "kwok"), f"--kubeconfig={api.kubeconfigs['kwok']}",
         f"--config={found / 'kwok-stages.yaml'}", f"--cidr={SUBNET}", "--node-ip=127.0.0.1",
         f"--manage-nodes-with-label-selector={gpu_nodes.SIMULATED_LABEL}=true",
         "--node-lease-duration-seconds=1200", f"--server-address=127.0.0.1:{port + 2}"],
        [str(found / "lws"), f"--config={folder / 'lws-configuration.yaml'}", f"--kubeconfig={api.kubeconfigs['lws']}",
         "--zap-devel=false"],
    ]  # fmt: skip


def _scheduler(api: Any, folder: Path) -> Path:
    """Its configuration. Of a thousand equal nodes it scores a hundred for a pod, not four hundred, and looks at them
    from as many threads as there are cores: by default it takes twice the time for the same choice."""
    configuration = {
        "apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration",
        "clientConnection": {"kubeconfig": str(api.kubeconfigs["scheduler"]), "qps": 2000, "burst": 4000},
        "leaderElection": {"leaderElect": False}, "percentageOfNodesToScore": 10, "parallelism": os.cpu_count() or 1,
    }  # fmt: skip
    path = folder / "scheduler-configuration.yaml"
    path.write_text(yaml.safe_dump(configuration))
    return path


@contextlib.contextmanager
def _process(command: list[str], folder: Path) -> Iterator[None]:
    name = next(Path(word).name for word in command if not word.startswith(("env", "HOME=")))
    with (folder / f"{name}-{command[1].split('=')[0].strip('-')}.log").open("wb") as log:
        process = kube_api.start(command, output=log, start_new_session=True)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _may_do_all(api: Any, group: str) -> None:
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": group}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
    metadata = {"name": f"all-for-{group}"}
    kind = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding"}
    done = api.apply({**kind, "metadata": metadata, "roleRef": role, "subjects": [subject]})
    assert done.returncode == 0, done.stderr


def requests(folder: Path, *, user: str, since: str, until: str) -> dict[tuple[str, str], int]:
    """Requests of a user by verb and kind, between two times (RFC 3339 with microseconds, UTC). Watches end late and
    are no work: they are left out."""
    counted: dict[tuple[str, str], int] = {}
    with (folder / "audit.log").open() as lines:
        for line in lines:
            if not line.endswith("\n"):
                # It is being written, so it is none of what was asked for.
                continue
            event = json.loads(line)
            at = str(event["requestReceivedTimestamp"])
            if event["verb"] == "watch" or event["user"]["username"] != user or not since <= at <= until:
                continue
            target = event.get("objectRef") or {}
            kind = "/".join(filter(None, (target.get("resource"), target.get("subresource"))))
            key = (str(event["verb"]), kind or str(event["requestURI"]))
            counted[key] = counted.get(key, 0) + 1
    return counted
