"""How each program of a stack is started: its arguments and environment. No program is started here."""

import hashlib
import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from paddock_local import kubeconfig, secret_files
from paddock_local.certificates import Certificates
from paddock_local.cri.files import read_json, write_json
from paddock_local.paths import StackPaths
from paddock_local.ports import Ports

# Set in every program of a stack, to find what was left behind.
STACK_VARIABLE = "PADDOCK_STACK_FOLDER"
PASSED_ON = ("OTEL_", "PADDOCK_CONTROLPLANE_", "PADDOCK_OPERATOR_", "PADDOCK_GATEWAY_")
CLUSTER_DOMAIN = "cluster.local"
SERVICE_SUBNET = "10.96.0.0/16"
CLUSTER_DNS = "10.96.0.10"
SERVING_IMAGE = "localhost/paddock/serving:0.1.0"
POSTGRES_USER = "paddock"
HOST = "127.0.0.1"


@dataclass(frozen=True)
class Spec:
    """One program, see launch.py."""

    argv: list[str]
    env: dict[str, str] = field(default_factory=dict)
    namespace: str = "host"
    ignore_chown: bool = False


@dataclass(frozen=True)
class Context:
    """All that a program's arguments are made from."""

    paths: StackPaths
    ports: Ports
    kubernetes: Path | None
    certificates: Certificates
    postgres_bin: Path
    cri_messages: Path | None
    # Kubeconfig for the operator and the gateway; with --context the person's own.
    kubeconfigs: dict[str, str]

    @property
    def marker(self) -> str:
        """Names the mounts of this stack."""
        return f"paddock-{self.paths.digest}"

    def python(self, *arguments: str) -> list[str]:
        """A Python program in the checkout's environment."""
        return [str(self.paths.venv_bin / "python"), "-m", *arguments]

    def part(self, name: str, *flags: str) -> list[str]:
        """A Kubernetes program: one of five in a folder, or the first argument of the one binary."""
        assert self.kubernetes is not None  # noqa: S101 - found before any of these is rendered
        head = [str(self.kubernetes / name)] if self.kubernetes.is_dir() else [str(self.kubernetes), name]
        return [*head, *flags]

    @property
    def database_url(self) -> str:
        """SQLAlchemy's address of the stack's PostgreSQL."""
        password = secret_files.read(self.paths, "postgres-password")
        return f"postgresql+asyncpg://{POSTGRES_USER}:{password}@{HOST}:{self.ports['postgres']}/{POSTGRES_USER}"


def etcd(c: Context) -> Spec:
    """etcd, with certificates on both sides: whoever reaches it owns the cluster."""
    certificates, pair = c.certificates, c.certificates.etcd
    client, peer = f"https://{HOST}:{c.ports['etcd']}", f"https://{HOST}:{c.ports['etcd_peer']}"
    authority = certificates.etcd_authority.pair.certificate
    flags = [
        "--name=local", f"--data-dir={c.paths.folder('data') / 'etcd'}",
        "--snapshot-count=10000", "--auto-compaction-retention=1h",
        f"--listen-client-urls={client}", f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=local={peer}",
        "--client-cert-auth", f"--trusted-ca-file={authority}",
        f"--cert-file={pair.certificate}", f"--key-file={pair.key}",
        "--peer-client-cert-auth", f"--peer-trusted-ca-file={authority}",
        f"--peer-cert-file={pair.certificate}", f"--peer-key-file={pair.key}", "--log-level=warn",
    ]  # fmt: skip
    return Spec(argv=c.part("etcd", *flags))


def apiserver(c: Context) -> Spec:
    """kube-apiserver, RBAC and client certificates."""
    x = c.certificates
    return Spec(
        argv=c.part(
            "kube-apiserver", f"--secure-port={c.ports['apiserver']}", f"--bind-address={HOST}",
            "--advertise-address=192.0.2.1",
            f"--etcd-servers=https://{HOST}:{c.ports['etcd']}", f"--etcd-cafile={x.etcd_authority.pair.certificate}",
            f"--etcd-certfile={x.apiserver_to_etcd.certificate}", f"--etcd-keyfile={x.apiserver_to_etcd.key}",
            f"--client-ca-file={x.authority.pair.certificate}",
            f"--tls-cert-file={x.apiserver.certificate}", f"--tls-private-key-file={x.apiserver.key}",
            f"--kubelet-certificate-authority={x.authority.pair.certificate}",
            f"--kubelet-client-certificate={x.apiserver_to_kubelet.certificate}",
            f"--kubelet-client-key={x.apiserver_to_kubelet.key}", "--kubelet-preferred-address-types=Hostname",
            f"--service-account-issuer=https://kubernetes.default.svc.{CLUSTER_DOMAIN}",
            f"--service-account-key-file={x.service_accounts}",
            f"--service-account-signing-key-file={x.service_accounts}",
            f"--service-cluster-ip-range={SERVICE_SUBNET}", "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction", "--endpoint-reconciler-type=none", "--profiling=false",
            "--anonymous-auth=false", "--logging-format=json",
        )
    )  # fmt: skip


def _kubernetes_client(c: Context, user: str) -> list[str]:
    config = c.paths.kubeconfig(kubeconfig.file_name(user))
    return [f"--kubeconfig={config}", f"--authentication-kubeconfig={config}", f"--authorization-kubeconfig={config}",
            f"--bind-address={HOST}", "--leader-elect=false", "--profiling=false", "--logging-format=json"]  # fmt: skip


def controller_manager(c: Context) -> Spec:
    """kube-controller-manager, every controller with an account of its own."""
    return Spec(
        argv=c.part(
            "kube-controller-manager", *_kubernetes_client(c, "system:kube-controller-manager"),
            f"--secure-port={c.ports['controller_manager']}", "--use-service-account-credentials=true",
            f"--service-account-private-key-file={c.certificates.service_accounts}",
            f"--root-ca-file={c.certificates.authority.pair.certificate}",
        )
    )  # fmt: skip


def scheduler(c: Context) -> Spec:
    """kube-scheduler."""
    return Spec(
        argv=c.part(
            "kube-scheduler", *_kubernetes_client(c, "system:kube-scheduler"), f"--secure-port={c.ports['scheduler']}"
        )
    )


def node(c: Context) -> Spec:
    """The holder of the node's namespaces."""
    home = c.paths.folder("data") / "kubelet"
    home.mkdir(exist_ok=True)
    return Spec(argv=c.python("paddock_local.node", c.marker, str(home)))


def runtime(c: Context) -> Spec:
    """Our container runtime, in the node's namespaces."""
    p = c.paths
    config = {
        "socket": str(p.cri_socket), "state": str(p.folder("data") / "node"), "messages": str(c.cri_messages),
        "images": str(Path(__file__).parent / "images"), "subnet": c.ports.pod_subnet, "marker": f"{c.marker}-pod",
        "values": {"venv": str(p.home / "venv"), "checkout": str(p.checkout)},
        "visible": [str(p.checkout), sys.base_prefix], "hidden": [str(p.stacks)],
    }  # fmt: skip
    file = p.folder("etc") / "runtime.json"
    write_json(file, config)
    return Spec(argv=c.python("paddock_local.cri.runtime", str(file)), namespace="node")


def kubelet_configuration(c: Context) -> dict[str, Any]:
    """KubeletConfiguration for a node in a user namespace without control groups (each line was needed)."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": HOST,
        "port": c.ports["kubelet"],
        "healthzBindAddress": HOST,
        "healthzPort": c.ports["kubelet_health"],
        "tlsCertFile": str(c.certificates.kubelet.certificate),
        "tlsPrivateKeyFile": str(c.certificates.kubelet.key),
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(c.certificates.authority.pair.certificate)},
        },
        "authorization": {"mode": "Webhook"},
        "containerRuntimeEndpoint": f"unix://{c.paths.cri_socket}",
        "cgroupDriver": "cgroupfs",
        "cgroupsPerQOS": False,
        "enforceNodeAllocatable": [],
        "failCgroupV1": False,
        "failSwapOn": False,
        "localStorageCapacityIsolation": False,
        "makeIPTablesUtilChains": False,
        "featureGates": {"KubeletInUserNamespace": True},
        "resolvConf": "",
        "clusterDomain": CLUSTER_DOMAIN,
        # Nobody listens there: containers use the machine's resolver. Without it every pod gets a warning.
        "clusterDNS": [CLUSTER_DNS],
        "podLogsDir": str(c.paths.folder("logs") / "pods"),
        "volumePluginDir": str(c.paths.folder("data") / "kubelet" / "volume-plugins"),
        # The machine's disk is not ours to guard: without thresholds the eviction manager stays quiet.
        "evictionHard": {"memory.available": "0%", "nodefs.available": "0%", "imagefs.available": "0%"},
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "nodeStatusUpdateFrequency": "10s",
        "syncFrequency": "10s",
        "logging": {"format": "json"},
    }


def kubelet(c: Context) -> Spec:
    """The real kubelet, in the node's namespaces."""
    home = c.paths.folder("data") / "kubelet"
    (home / "volume-plugins").mkdir(parents=True, exist_ok=True)
    config = c.paths.folder("etc") / "kubelet.yaml"
    config.write_text(yaml.safe_dump(kubelet_configuration(c)), encoding="utf-8")
    return Spec(
        namespace="node",
        ignore_chown=True,
        argv=c.part(
            "kubelet", f"--config={config}", f"--kubeconfig={c.paths.kubeconfig('system-node-localhost')}",
            f"--root-dir={home}", f"--cert-dir={home / 'pki'}", "--hostname-override=localhost",
            "--node-labels=paddock.dev/local=true",
        ),
    )  # fmt: skip


def postgres(c: Context) -> Spec:
    """PostgreSQL; as root it gets another id in a user namespace, since it refuses to be root."""
    data = c.paths.folder("data") / "postgres"
    return Spec(
        namespace="plain-user",
        env={"LC_ALL": "C.UTF-8"},
        argv=[
            str(c.postgres_bin / "postgres"), "-D", str(data), "-h", HOST, "-p", str(c.ports["postgres"]),
            "-k", str(c.paths.sockets), "-c", "fsync=on", "-c", "synchronous_commit=on", "-c", "full_page_writes=on",
            "-c", "max_connections=200", "-c", "shared_buffers=128MB", "-c", "password_encryption=scram-sha-256",
            "-c", "restart_after_crash=on", "-c", "logging_collector=off", "-c", "timezone=UTC",
        ],
    )  # fmt: skip


def _prefixed(prefix: str, **values: object) -> dict[str, str]:
    return {f"PADDOCK_{prefix}_{name}": str(value) for name, value in values.items()}


def controlplane_environment(c: Context) -> dict[str, str]:
    """Settings of the control plane, shared by its server and its migration."""
    p, s = c.paths, c.paths.secret
    return _prefixed(
        "CONTROLPLANE", DATABASE_URL=c.database_url, HOST=HOST, PORT=c.ports["controlplane"],
        PUBLIC_URL=f"http://{HOST}:{c.ports['controlplane']}", ARTIFACTS_DIR=p.folder("artifacts"),
        ADMIN_TOKEN_FILE=s("admin-token"), INTERNAL_TOKEN_FILE=s("internal-token"),
        PLATFORM_KEY_FILE=s("platform-key"), AUDIT_KEY_FILE=s("audit-key"),
    )  # fmt: skip


def controlplane(c: Context) -> Spec:
    """The control plane's HTTP server."""
    return Spec(argv=[str(c.paths.venv_bin / "paddock-controlplane"), "serve"], env=controlplane_environment(c))


def operator(c: Context) -> Spec:
    """The operator with its webhook."""
    p, s, pair = c.paths, c.paths.secret, c.certificates.webhook
    volume = {"hostPath": {"path": str(p.folder("weights")), "type": "DirectoryOrCreate"}}
    env = _prefixed(
        "OPERATOR", KUBECONFIG=c.kubeconfigs["operator"], CONTROLPLANE_URL=f"http://{HOST}:{c.ports['controlplane']}",
        INTERNAL_TOKEN_FILE=s("internal-token"), PLATFORM_KEY_FILE=s("platform-key"),
        WEBHOOK_HOST=HOST, WEBHOOK_PORT=c.ports["operator_webhook"], WEBHOOK_CERT_FILE=pair.certificate,
        WEBHOOK_KEY_FILE=pair.key, HEALTH_PORT=c.ports["operator_health"],
        GATEWAY_URL=f"http://{HOST}:{c.ports['gateway']}", SERVING_IMAGE=SERVING_IMAGE,
        WEIGHTS_VOLUME=json.dumps(volume),
        LEASE_NAMESPACE="paddock-system", CACHE_DIR=p.folder("cache") / "operator",
    )  # fmt: skip
    return Spec(argv=[str(p.venv_bin / "paddock-operator")], env=env | {"KUBECONFIG": c.kubeconfigs["operator"]})


def gateway(c: Context) -> Spec:
    """The gateway."""
    p, s = c.paths, c.paths.secret
    env = _prefixed(
        "GATEWAY", HOST=HOST, PORT=c.ports["gateway"], METRICS_PORT=c.ports["gateway_metrics"],
        CONTROLPLANE_URL=f"http://{HOST}:{c.ports['controlplane']}", INTERNAL_TOKEN_FILE=s("internal-token"),
        PLATFORM_KEY_FILE=s("platform-key"), KUBECONFIG=c.kubeconfigs["gateway"], JOURNAL_DIR=p.folder("journal"),
        CACHE_DIR=p.folder("cache") / "gateway", INSTANCE=f"{p.name}-0",
    )  # fmt: skip
    return Spec(argv=[str(p.venv_bin / "paddock-gateway")], env=env)


def base_environment(paths: StackPaths) -> dict[str, str]:
    """What every program gets: little, and the same whoever starts the stack."""
    base = {"PATH": f"{paths.venv_bin}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
    return base | {"HOME": str(Path.home()), "PYTHONUNBUFFERED": "1", STACK_VARIABLE: str(paths.root)}


def passed_on() -> dict[str, str]:
    """Variables of the person's shell that override a service's settings."""
    return {key: value for key, value in os.environ.items() if key.startswith(PASSED_ON)}


def source_digest(checkout: Path) -> str:
    """Changes with any Python source of the product."""
    text = hashlib.sha256()
    for file in sorted(checkout.glob("*/paddock_*/**/*.py")):
        text.update(f"{file}{file.stat().st_mtime_ns}".encode())
    return text.hexdigest()


def write(context: Context, part: str, spec: Spec) -> bool:
    """Write the spec file of a part. Returns whether an earlier one said otherwise."""
    env = base_environment(context.paths) | spec.env | passed_on()
    value = {
        "argv": spec.argv, "env": env, "cwd": str(context.paths.root),
        "namespace": spec.namespace, "ignore_chown": spec.ignore_chown, "marker": f"{context.marker}-node",
    }  # fmt: skip
    if spec.argv[0].startswith(str(context.paths.venv_bin)):
        # Ours: a change of the sources is a reason to start it anew, like a change of its settings.
        value["source"] = source_digest(context.paths.checkout)
    before = read_json(context.paths.spec(part))
    write_json(context.paths.spec(part), value)
    return before is not None and before != value
