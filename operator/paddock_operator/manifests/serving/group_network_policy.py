"""The pods of one group may talk to one another (ssh, MPI, NCCL) and ask for one another's names; to nobody else."""

from typing import Any

from paddock_core.resources import names

from paddock_operator.manifests.render import Rendering
from paddock_operator.ports import Manifest

ORDER = 2
DNS_PORT = 53


def render(rendering: Rendering) -> list[Manifest]:
    """One for each group. MPI and NCCL choose ports as they like, so all ports are open among these pods."""
    return [_policy(rendering, group) for group in rendering.groups]


def _policy(rendering: Rendering, group: str) -> Manifest:
    members = {"podSelector": {"matchLabels": {names.GROUP: group}}}
    resolver = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
        "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
    }
    egress: list[dict[str, Any]] = [
        {"to": [members]},
        {"to": [resolver], "ports": [{"port": DNS_PORT, "protocol": protocol} for protocol in ("UDP", "TCP")]},
    ]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": rendering.group_metadata(group),
        "spec": {
            "podSelector": members["podSelector"],
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": [members]}],
            "egress": egress,
        },
    }
