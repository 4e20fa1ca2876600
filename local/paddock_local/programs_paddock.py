"""How PostgreSQL and Paddock's own processes are started, with the settings they get."""

import json

from paddock_local import kubeconfig
from paddock_local.programs import HOST, Context, Spec

SERVING_IMAGE = "localhost/paddock/serving:0.1.0"


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
        AUDIT_HEADS_FILE=p.folder("artifacts") / "audit" / "heads.jsonl",
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
        GATEWAY_INTERNAL_URLS=json.dumps([f"http://{HOST}:{c.ports['gateway_internal']}"]),
        LEASE_NAMESPACE="paddock-system", CACHE_DIR=p.folder("cache") / "operator",
        # Nodes of the stack pull nothing, and there may be no registry to ask for a digest. A cluster of the person's
        # own does pull.
        ALLOW_UNPINNED_IMAGES=c.kubeconfigs["operator"] == str(p.kubeconfig(kubeconfig.OPERATOR)),
    )  # fmt: skip
    return Spec(argv=[str(p.venv_bin / "paddock-operator")], env=env | {"KUBECONFIG": c.kubeconfigs["operator"]})


def gateway(c: Context) -> Spec:
    """The gateway."""
    p, s = c.paths, c.paths.secret
    env = _prefixed(
        "GATEWAY", HOST=HOST, PORT=c.ports["gateway"], METRICS_PORT=c.ports["gateway_metrics"],
        INTERNAL_PORT=c.ports["gateway_internal"],
        CONTROLPLANE_URL=f"http://{HOST}:{c.ports['controlplane']}", INTERNAL_TOKEN_FILE=s("internal-token"),
        PLATFORM_KEY_FILE=s("platform-key"), KUBECONFIG=c.kubeconfigs["gateway"], JOURNAL_DIR=p.folder("journal"),
        CACHE_DIR=p.folder("cache") / "gateway", INSTANCE=f"{p.name}-0",
    )  # fmt: skip
    return Spec(argv=[str(p.venv_bin / "paddock-gateway")], env=env)
