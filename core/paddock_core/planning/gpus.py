"""A cluster's GPUs: from Kubernetes nodes, or described by hand.

A GPU is known by the labels of NVIDIA's GPU feature discovery. Parts (MIG) are counted by profile, under whichever of
the two naming strategies the device plugin uses; on a node whose GPUs are still being cut nothing is counted. Shared
GPUs (time slicing) are never counted: their memory belongs to several pods at once.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from paddock_core.planning.constants import MIB
from paddock_core.planning.errors import PoolError
from paddock_core.planning.products import gpu_table as gpu_table
from paddock_core.planning.products import part_of
from paddock_core.planning.types import GPU_RESOURCE as GPU_RESOURCE
from paddock_core.planning.types import Gpu, Inventory, NodePool

PRODUCT_LABEL = "nvidia.com/gpu.product"
MEMORY_LABEL = "nvidia.com/gpu.memory"
"""MiB, as GPU feature discovery reports it."""
COUNT_LABEL = "nvidia.com/gpu.count"
COMPUTE_MAJOR_LABEL = "nvidia.com/gpu.compute.major"
COMPUTE_MINOR_LABEL = "nvidia.com/gpu.compute.minor"
MIG_STATE_LABEL = "nvidia.com/mig.config.state"
MIG_READY = "success"
_MIG_PRODUCT = re.compile(r"(?P<product>.+)-MIG-(?P<profile>\d+g\.\d+gb)(\.me)?")
_SHARED = "-SHARED"
_MANY = 10_000
"""More GPUs on a node, or nodes in a pool, are a slip of the pen."""
DEFAULT_NODES = 8


def hypothetical(
    *, gpu: str, per_node: int | None = None, nodes: int = DEFAULT_NODES, mig_profile: str | None = None
) -> Inventory:
    """An inventory of equal nodes. Raises PoolError for a product or a profile that the table lacks."""
    return Inventory(pools=(_described(gpu, per_node, nodes, mig_profile),))


def described(texts: Iterable[str], *, mig_profile: str | None = None) -> Inventory:
    """The inventory of nodes written as `NODESxPRODUCTxGPUS`, for example `4xH100-80x8`.

    Raises PoolError for a text of another form, and for a product or a profile that the table lacks.
    """
    pools = []
    for text in texts:
        nodes, _, rest = text.partition("x")
        gpu, _, per_node = rest.rpartition("x")
        if not (_is_count(nodes) and _is_count(per_node)):
            raise PoolError(f"nodes are written NODESxPRODUCTxGPUS, for example 4xH100-80x8, not {text!r}")
        pools.append(_described(gpu, int(per_node), int(nodes), mig_profile))
    return Inventory(pools=tuple(pools))


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < len(str(_MANY)) and int(text) > 0


def _described(gpu: str, per_node: int | None, nodes: int, mig_profile: str | None) -> NodePool:
    product = gpu_table().get(gpu)
    if product is None:
        raise PoolError(f"no GPU product {gpu}: there are {', '.join(sorted(gpu_table()))}")
    whole = NodePool(gpu=product, gpus_per_node=per_node or product.per_node, nodes=nodes)
    if mig_profile is None:
        return whole
    profile = next((item for item in product.mig if item.name == mig_profile), None)
    if profile is None:
        names = ", ".join(item.name for item in product.mig) or "no profiles"
        raise PoolError(f"{gpu} cannot be cut into {mig_profile}: it has {names}")
    return NodePool(
        gpu=replace(product, memory=profile.memory, nvlink=False),
        gpus_per_node=whole.gpus_per_node * profile.most,
        nodes=nodes,
        resource=mig_resource(GPU_RESOURCE, mig_profile),
        mig_profile=mig_profile,
    )


def inventory_of(
    nodes: Iterable[Mapping[str, Any]],
    *,
    resource: str = GPU_RESOURCE,
    device_classes: tuple[str, ...] | None = None,
) -> Inventory:
    """The inventory of Kubernetes nodes. `resource` is the name under which the device plugin counts whole GPUs."""
    counted = Counter(pool for node in nodes for pool in _pools(node, resource))
    pools = [replace(pool, nodes=count) for pool, count in counted.items()]
    return Inventory(pools=tuple(sorted(pools, key=order)), device_classes=device_classes)


def order(pool: NodePool) -> tuple[str, str, str, bool, int, int]:
    """A stable order of pools."""
    return (pool.gpu.id, pool.mig_profile or "", pool.resource, pool.claimed, pool.gpus_per_node, pool.nodes)


def _pools(node: Mapping[str, Any], resource: str) -> Iterator[NodePool]:
    """What one node offers: whole GPUs, or parts by profile."""
    labels: Mapping[str, str] = node.get("metadata", {}).get("labels") or {}
    allocatable = node.get("status", {}).get("allocatable") or {}
    product = labels.get(PRODUCT_LABEL, "")
    if not product or product.endswith(_SHARED) or labels.get(MIG_STATE_LABEL, MIG_READY) != MIG_READY:
        return
    single = _MIG_PRODUCT.fullmatch(product)
    if single is not None:
        part = _part(single["product"], single["profile"], product)
        if part is not None and (count := _count(allocatable.get(resource))):
            yield _pool(part, count, resource=resource, mig_profile=single["profile"])
        return
    gpu = _known(product) or _unlisted(product, labels)
    if gpu is None:
        return
    if count := _count(allocatable.get(resource)):
        yield _pool(gpu, count, resource=resource)
    elif resource not in allocatable and (count := _count(labels.get(COUNT_LABEL))):
        yield _pool(gpu, count, resource=resource, claimed=True)
    yield from _mixed_parts(gpu, allocatable, resource)


def _mixed_parts(gpu: Gpu, allocatable: Mapping[str, Any], resource: str) -> Iterator[NodePool]:
    """Parts that are counted under a resource of their own, beside the whole GPUs of the same node."""
    for profile in gpu.mig:
        name = mig_resource(resource, profile.name)
        part = part_of(gpu, profile.name)
        if part is not None and (count := _count(allocatable.get(name))):
            yield _pool(part, count, resource=name, mig_profile=profile.name)


def _pool(gpu: Gpu, count: int, *, resource: str, mig_profile: str | None = None, claimed: bool = False) -> NodePool:
    return NodePool(gpu=gpu, gpus_per_node=count, nodes=1, resource=resource, mig_profile=mig_profile, claimed=claimed)


def _part(product: str, profile: str, label: str) -> Gpu | None:
    whole = _known(product)
    part = None if whole is None else part_of(whole, profile)
    return None if part is None else replace(part, products=(label,))


def mig_resource(resource: str, profile: str) -> str:
    """The name by which a node counts parts of a profile; `resource` is that of whole GPUs."""
    return f"{resource.rpartition('/')[0]}/mig-{profile}"


def _count(value: Any) -> int:
    text = str(value or "")
    return int(text) if _is_count(text) else 0


def _known(product: str) -> Gpu | None:
    return next((gpu for gpu in gpu_table().values() if product in gpu.products), None)


def _unlisted(product: str, labels: Mapping[str, str]) -> Gpu | None:
    """A product that the table lacks is still usable if its labels say how large and how capable it is."""
    figures = [labels.get(name, "") for name in (MEMORY_LABEL, COMPUTE_MAJOR_LABEL, COMPUTE_MINOR_LABEL)]
    if not all(figure.isascii() and figure.isdigit() for figure in figures):
        return None
    memory, major, minor = (int(figure) for figure in figures)
    return Gpu(
        id=product, memory=memory * MIB, compute_capability=major * 10 + minor, nvlink=False, products=(product,)
    )
