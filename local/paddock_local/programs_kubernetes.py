"""How Kubernetes' programs and the node's are started."""

import sys
from pathlib import Path
from typing import Any

import yaml

from paddock_local import kubeconfig
from paddock_local.cri.files import write_json
from paddock_local.programs import HOST, Context, Spec

CLUSTER_DOMAIN = "cluster.local"
SERVICE_SUBNET = "10.96.0.0/16"
CLUSTER_DNS = "10.96.0.10"
_PACE = ("--kube-api-qps=200", "--kube-api-burst=400")
"""Kubernetes' own 20 requests a second are for clusters in which much else goes on."""

_IDLE = tuple(f"-{name}-controller" for name in ("endpoints", "endpointslice", "endpointslice-mirroring"))
"""Pods have loopback addresses, which endpoints may not have: these would be refused, and try again for ever."""


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
            "kube-controller-manager", *_kubernetes_client(c, "system:kube-controller-manager"), *_PACE,
            f"--secure-port={c.ports['controller_manager']}", "--use-service-account-credentials=true",
            f"--service-account-private-key-file={c.certificates.service_accounts}",
            f"--root-ca-file={c.certificates.authority.pair.certificate}", f"--controllers=*,{','.join(_IDLE)}",
        )
    )  # fmt: skip


def scheduler(c: Context) -> Spec:
    """kube-scheduler."""
    return Spec(
        argv=c.part(
            "kube-scheduler",
            *_kubernetes_client(c, "system:kube-scheduler"),
            *_PACE,
            f"--secure-port={c.ports['scheduler']}",
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
