"""The parts of a stack, in the order in which they start.

Data: what runs, how it is made, how it says that it is ready.
"""

from collections.abc import Callable
from dataclasses import dataclass

from paddock_local import programs_kubernetes as kubernetes
from paddock_local import programs_nodes as nodes
from paddock_local import programs_paddock as paddock
from paddock_local import ready
from paddock_local.errors import LocalError
from paddock_local.programs import Context, Spec
from paddock_local.ready import Check

KUBERNETES, NODES, POSTGRES, PADDOCK = "kubernetes", "nodes", "postgres", "paddock"


@dataclass(frozen=True)
class Part:
    """`patience_s`: how long it may take to be ready. `stop_s`: how long it may take to end before it is killed."""

    name: str
    group: str
    spec: Callable[[Context], Spec]
    ready: Check
    listeners: tuple[str, ...] = ()
    patience_s: float = 60.0
    stop_s: int = 15


PARTS = (
    Part("postgres", POSTGRES, paddock.postgres, ready.postgres, ("postgres",), stop_s=30),
    Part("etcd", KUBERNETES, kubernetes.etcd, ready.etcd, ("etcd", "etcd_peer")),
    Part(
        "kube-apiserver", KUBERNETES, kubernetes.apiserver,
        ready.kubernetes_ok("apiserver", "/readyz"), ("apiserver",), patience_s=120.0, stop_s=20,
    ),
    Part(
        "kube-controller-manager", KUBERNETES, kubernetes.controller_manager,
        ready.tls_up("controller_manager", "/healthz"), ("controller_manager",),
    ),
    Part("kube-scheduler", KUBERNETES, kubernetes.scheduler, ready.tls_up("scheduler", "/healthz"), ("scheduler",)),
    Part("lws", NODES, nodes.lws, ready.http_ok("lws_health", "/readyz"), ("lws_webhook", "lws_health")),
    Part("kwok", NODES, nodes.kwok, ready.http_ok("kwok", "/healthz"), ("kwok",)),
    Part("node", KUBERNETES, kubernetes.node, ready.always),
    Part("cri", KUBERNETES, kubernetes.runtime, ready.cri),
    Part("kubelet", KUBERNETES, kubernetes.kubelet, ready.node, ("kubelet", "kubelet_health")),
    Part("controlplane", PADDOCK, paddock.controlplane, ready.http_ok("controlplane", "/healthz"), ("controlplane",)),
    Part(
        "operator", PADDOCK, paddock.operator,
        ready.http_ok("operator_health", "/healthz"), ("operator_health", "operator_webhook"),
    ),
    Part(
        "gateway", PADDOCK, paddock.gateway,
        ready.http_ok("gateway", "/healthz"), ("gateway", "gateway_metrics", "gateway_internal"), stop_s=40,
    ),
)  # fmt: skip
BY_NAME = {part.name: part for part in PARTS}
GROUPS = (KUBERNETES, NODES, POSTGRES, PADDOCK)

# With etcd gone first, kube-apiserver hangs in its shutdown for minutes and keeps its port. The containers
# end after the kubelet,
# so that nobody restarts them.
STOP_ORDER = (
    "gateway", "operator", "controlplane", "kwok", "lws", "kubelet", "cri", "CONTAINERS", "node",
    "kube-controller-manager", "kube-scheduler", "kube-apiserver", "etcd", "postgres",
)  # fmt: skip


def select(only: list[str], *, simulated: bool = False) -> list[Part]:
    """The parts of the groups or parts named in `only`, in starting order; all when it is empty.

    `simulated`: whether there are simulated nodes; what plays them then comes with Kubernetes, and else with nothing.

    Raises LocalError for a name that is neither.
    """
    unknown = sorted(set(only) - set(GROUPS) - set(BY_NAME))
    if unknown:
        known = ", ".join((*GROUPS, *BY_NAME))
        raise LocalError(f"no part is called {', '.join(unknown)}: choose from {known}")
    asked = set(only) if only else {*GROUPS} - {NODES}
    if simulated and KUBERNETES in asked:
        asked.add(NODES)
    return [part for part in PARTS if part.group in asked or part.name in asked]
