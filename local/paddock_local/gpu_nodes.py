"""Simulated GPU nodes: what a person asks for, and the Node objects that make it so.

The objects carry what NVIDIA's feature discovery and device plugin would put there, so that nothing else in the
product needs to know that they are simulated.
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paddock_core.planning.errors import PoolError
from paddock_core.planning.gpus import (
    COMPUTE_MAJOR_LABEL,
    COMPUTE_MINOR_LABEL,
    COUNT_LABEL,
    GPU_RESOURCE,
    MEMORY_LABEL,
    PRODUCT_LABEL,
    described,
    gpu_table,
)

from paddock_local import cluster, kubectl
from paddock_local.errors import LocalError

SIMULATED_LABEL = "paddock.dev/simulated"
MOST_NODES = 1200
READY_S = 120
CPUS, MEMORY, PODS = "192", "2Ti", "110"
"""What a usual server with eight GPUs has beside them."""


@dataclass(frozen=True)
class GpuNodes:
    """`nodes` nodes, each with `gpus` GPUs of the product whose id in the table of GPUs is `gpu`."""

    nodes: int
    gpu: str
    gpus: int

    def __str__(self) -> str:
        return f"{self.nodes}x{self.gpu}x{self.gpus}"

    @property
    def names(self) -> list[str]:
        """The names of the nodes. They say what the node has, since that never changes while it exists."""
        return [f"{self.gpu.lower()}-x{self.gpus}-{number}" for number in range(self.nodes)]


def parse_all(texts: Iterable[str]) -> list[GpuNodes]:
    """`4xH100-80x8` -> four nodes of eight H100-80. Shapes of the same product and count are added up.

    Raises LocalError that names the form, or the GPUs that there are.
    """
    try:
        pools = described(texts).pools
    except PoolError as problem:
        raise LocalError(f"--gpu-nodes: {problem}") from None
    if sum(pool.nodes for pool in pools) > MOST_NODES:
        raise LocalError(f"--gpu-nodes: at most {MOST_NODES} nodes can be simulated: ask for fewer")
    summed = Counter[tuple[str, int]]()
    for pool in pools:
        summed[pool.gpu.id, pool.gpus_per_node] += pool.nodes
    return [GpuNodes(nodes=nodes, gpu=gpu, gpus=gpus) for (gpu, gpus), nodes in summed.items()]


def documents(shapes: Iterable[GpuNodes]) -> list[dict[str, Any]]:
    """The Node objects."""
    return [_node(name, shape) for shape in shapes for name in shape.names]


def apply(shapes: Sequence[GpuNodes], *, program: Path, kubeconfig: str) -> None:
    """Make the cluster's simulated nodes these and no others, and wait until they are ready.

    Raises StackError with kubectl's words.
    """
    wanted = documents(shapes)
    names = {node["metadata"]["name"] for node in wanted}
    selector = f"--selector={SIMULATED_LABEL}=true"
    listed = json.loads(kubectl.run(program, kubeconfig, "get", "nodes", selector, "-o", "json"))
    surplus = sorted({node["metadata"]["name"] for node in listed["items"]} - names)
    if surplus:
        kubectl.run(program, kubeconfig, "delete", "nodes", *surplus)
    cluster.apply(program=program, kubeconfig=kubeconfig, items=wanted)
    kubectl.run(program, kubeconfig, "wait", "nodes", selector, "--for=condition=Ready", f"--timeout={READY_S}s")


def _node(name: str, shape: GpuNodes) -> dict[str, Any]:
    gpu = gpu_table()[shape.gpu]
    major, minor = divmod(gpu.compute_capability, 10)
    labels = {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        SIMULATED_LABEL: "true",
        PRODUCT_LABEL: gpu.products[0],
        MEMORY_LABEL: str(gpu.memory // 1024**2),
        COMPUTE_MAJOR_LABEL: str(major),
        COMPUTE_MINOR_LABEL: str(minor),
        COUNT_LABEL: str(shape.gpus),
        "nvidia.com/gpu.present": "true",
    }
    room = {"cpu": CPUS, "memory": MEMORY, "pods": PODS, GPU_RESOURCE: str(shape.gpus)}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        # As GPU nodes usually are: only pods that ask for GPUs tolerate it, so the real node keeps all others.
        "spec": {"taints": [{"key": GPU_RESOURCE, "effect": "NoSchedule"}]},
        "status": {"capacity": room, "allocatable": room},
    }
