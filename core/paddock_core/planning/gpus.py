"""The GPU products, and inventories made of them."""

from collections.abc import Iterable, Mapping
from functools import cache
from importlib import resources
from typing import Any

import yaml

from paddock_core.planning.memory import MIB
from paddock_core.planning.types import GPU_RESOURCE as GPU_RESOURCE
from paddock_core.planning.types import Gpu, Inventory, NodePool

PRODUCT_LABEL = "nvidia.com/gpu.product"
MEMORY_LABEL = "nvidia.com/gpu.memory"
"""MiB, as GPU feature discovery reports it."""
COMPUTE_MAJOR_LABEL = "nvidia.com/gpu.compute.major"
COMPUTE_MINOR_LABEL = "nvidia.com/gpu.compute.minor"


@cache
def gpu_table() -> Mapping[str, Gpu]:
    """Every known GPU product by id, from the packaged `gpus.yaml`."""
    file = resources.files("paddock_core.catalog") / "gpus.yaml"
    document = yaml.load(file.read_bytes(), Loader=yaml.CSafeLoader)
    return {row["id"]: _gpu(row) for row in document["gpus"]}


def hypothetical(*, gpu: str, per_node: int | None = None, nodes: int = 8) -> Inventory:
    """An inventory of equal nodes, for `paddock plan --gpu`. Raises KeyError for an unknown id."""
    product = gpu_table()[gpu]
    return Inventory(pools=(NodePool(gpu=product, gpus_per_node=per_node or product.per_node, nodes=nodes),))


def inventory_of(nodes: Iterable[Mapping[str, Any]]) -> Inventory:
    """The inventory of Kubernetes nodes, from allocatable GPUs and the labels of GPU feature discovery."""
    counted: dict[tuple[str, int], tuple[Gpu, int]] = {}
    for node in nodes:
        count = _allocatable(node)
        gpu = _gpu_of(node) if count else None
        if gpu is not None:
            key = (gpu.id, count)
            counted[key] = (gpu, counted.get(key, (gpu, 0))[1] + 1)
    pools = (NodePool(gpu=gpu, gpus_per_node=key[1], nodes=n) for key, (gpu, n) in sorted(counted.items()))
    return Inventory(pools=tuple(pools))


def _allocatable(node: Mapping[str, Any]) -> int:
    text = str(node.get("status", {}).get("allocatable", {}).get(GPU_RESOURCE, "0"))
    return int(text) if text.isdigit() else 0


def _gpu_of(node: Mapping[str, Any]) -> Gpu | None:
    labels = node.get("metadata", {}).get("labels", {})
    product = labels.get(PRODUCT_LABEL, "")
    known = next((gpu for gpu in gpu_table().values() if product in gpu.products), None)
    if known is not None or not product:
        return known
    return _unlisted(product, labels)


def _unlisted(product: str, labels: Mapping[str, str]) -> Gpu | None:
    """A product that the table lacks is still usable if its labels say how large and how capable it is."""
    figures = [labels.get(name, "") for name in (MEMORY_LABEL, COMPUTE_MAJOR_LABEL, COMPUTE_MINOR_LABEL)]
    if not all(figure.isdigit() for figure in figures):
        return None
    memory, major, minor = (int(figure) for figure in figures)
    return Gpu(
        id=product, memory=memory * MIB, compute_capability=major * 10 + minor, nvlink=False, products=(product,)
    )


def _gpu(row: Mapping[str, Any]) -> Gpu:
    return Gpu(
        id=row["id"],
        memory=row["memory_mib"] * MIB,
        compute_capability=row["compute_capability"],
        nvlink=row["nvlink"],
        products=tuple(row["products"]),
        per_node=row["per_node"],
    )
