"""The pods of one group may talk to one another (ssh, MPI, NCCL) and ask for one another's names; to nobody else."""

from typing import Any

from paddock_core.resources import names

from paddock_operator.manifests.render import COPY, Rendering
from paddock_operator.ports import Manifest

ORDER = 2
DNS_PORTS = (53, 5353)
"""Of pods that resolve names: a policy sees the pod's own port, which on OpenShift is the second."""
NODE_RESOLVER = "169.254.20.10/32"
"""Where NodeLocal DNSCache listens on every node."""


def render(rendering: Rendering) -> list[Manifest]:
    """One for a copy of several pods. MPI and NCCL choose ports as they like: all are open among these pods."""
    if not rendering.spans_pods:
        return []
    members = {"podSelector": {"matchLabels": {names.GROUP: COPY}}}
    # Which pods resolve names, and in which namespace, differs from cluster to cluster.
    resolvers: list[dict[str, Any]] = [{"namespaceSelector": {}}, {"ipBlock": {"cidr": NODE_RESOLVER}}]
    ports = [{"port": port, "protocol": protocol} for port in DNS_PORTS for protocol in ("UDP", "TCP")]
    egress: list[dict[str, Any]] = [{"to": [members]}, {"to": resolvers, "ports": ports}]
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": rendering.copy_metadata(),
        "spec": {
            "podSelector": members["podSelector"],
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": [members]}],
            "egress": egress,
        },
    }
    return [policy]
