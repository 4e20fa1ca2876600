"""Simulated GPU nodes: what a person asks for, and the Node objects that make it so.

The objects carry what NVIDIA's feature discovery and device plugin would put there, so that nothing else in the
product needs to know that they are simulated.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paddock_core.planning.gpus import (
    COMPUTE_MAJOR_LABEL,
    COMPUTE_MINOR_LABEL,
    GPU_RESOURCE,
    MEMORY_LABEL,
    PRODUCT_LABEL,
    gpu_table,
)

from paddock_local import cluster, kubectl
from paddock_local.errors import LocalError

SIMULATED_LABEL = "paddock.dev/simulated"
SHAPE = re.compile(r"(?P<nodes>[1-9][0-9]{0,3})x(?P<gpu>[A-Za-z0-9-]+)x(?P<gpus>[1-9][0-9]?)")
MOST_NODES = 1000
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


def parse(text: str) -> GpuNodes:
    """`4xH100-80x8` -> four nodes of eight H100-80.

    Raises LocalError that names the form and the GPUs.
    """
    found = SHAPE.fullmatch(text)
    known = gpu_table()
    gpu = next((name for name in known if found and name.lower() == found["gpu"].lower()), None)
    if found is None or gpu is None or int(found["nodes"]) > MOST_NODES:
        raise LocalError(
            f"simulated nodes {text!r}: write NODESxGPUxGPUS-PER-NODE, such as 4xH100-80x8, at most {MOST_NODES} "
            f"nodes; known GPUs: {', '.join(known)}"
        )
    return GpuNodes(nodes=int(found["nodes"]), gpu=gpu, gpus=int(found["gpus"]))


def parse_all(texts: Iterable[str]) -> list[GpuNodes]:
    """Every shape, with those of the same product and count added up."""
    summed: dict[tuple[str, int], int] = {}
    for shape in map(parse, texts):
        summed[shape.gpu, shape.gpus] = summed.get((shape.gpu, shape.gpus), 0) + shape.nodes
    return [parse(f"{nodes}x{gpu}x{gpus}") for (gpu, gpus), nodes in summed.items()]


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
        "nvidia.com/gpu.count": str(shape.gpus),
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
