"""GPUs are read from the labels and resources of nodes, and described by hand."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paddock_core.planning.constants import GIB, MIB
from paddock_core.planning.errors import PoolError
from paddock_core.planning.gpus import described, gpu_table, hypothetical, inventory_of
from paddock_core.planning.types import Inventory

H100 = "NVIDIA-H100-80GB-HBM3"


def node(product: str, resources: dict[str, str], **labels: str) -> dict[str, Any]:
    own = {"gpu.product": product, **{key.replace("_", "."): value for key, value in labels.items()}}
    return {
        "metadata": {"name": "n", "labels": {f"nvidia.com/{key}": value for key, value in own.items()}},
        "status": {"allocatable": {f"nvidia.com/{key}": value for key, value in resources.items()}},
    }


def pools(inventory: Inventory) -> list[tuple[str, str | None, int, int]]:
    return [(pool.gpu.id, pool.mig_profile, pool.gpus_per_node, pool.nodes) for pool in inventory.pools]


def test_equal_nodes_are_one_pool() -> None:
    nodes = [
        node(H100, {"gpu": "8"}),
        node(H100, {"gpu": "8"}),
        node(H100, {"gpu": "7"}),
        node("Weird-GPU", {"gpu": "4"}, gpu_memory="24576", gpu_compute_major="8", gpu_compute_minor="9"),
        node("Weird-GPU-without-labels", {"gpu": "4"}),
        node("NVIDIA-H200", {"gpu": "0"}),
        {"metadata": {"name": "cpu"}, "status": {}},
    ]
    found = inventory_of(nodes)
    assert pools(found) == [("H100-80", None, 7, 1), ("H100-80", None, 8, 2), ("Weird-GPU", None, 4, 1)]
    weird = next(pool.gpu for pool in found.pools if pool.gpu.id == "Weird-GPU")
    assert (weird.memory, weird.compute_capability) == (24576 * MIB, 89)


def test_parts_are_counted_by_profile_under_both_namings() -> None:
    mixed = node("NVIDIA-A100-SXM4-80GB", {"gpu": "6", "mig-3g.40gb": "2", "mig-1g.10gb": "1"})
    single = node("NVIDIA-A100-SXM4-80GB-MIG-3g.40gb", {"gpu": "16"}, gpu_memory="40192")
    found = inventory_of([mixed, single])
    assert pools(found) == [
        ("A100-80", None, 6, 1),
        ("A100-80", "1g.10gb", 1, 1),
        ("A100-80", "3g.40gb", 16, 1),
        ("A100-80", "3g.40gb", 2, 1),
    ]
    by_naming = {pool.resource: pool for pool in found.pools if pool.mig_profile == "3g.40gb"}
    assert set(by_naming) == {"nvidia.com/gpu", "nvidia.com/mig-3g.40gb"}
    assert by_naming["nvidia.com/gpu"].gpu.products == ("NVIDIA-A100-SXM4-80GB-MIG-3g.40gb",)
    assert {pool.gpu.memory for pool in by_naming.values()} == {int(39.25 * GIB)}
    assert not any(pool.gpu.nvlink for pool in by_naming.values())


@pytest.mark.parametrize(
    "labels",
    [{"mig.config.state": "pending"}, {"mig.config.state": "rebooting"}, {"mig.config.state": "failed"}],
)
def test_gpus_that_are_being_cut_are_not_counted(labels: dict[str, str]) -> None:
    """A pod that came first would take the whole GPU."""
    waiting = node("NVIDIA-A100-SXM4-80GB", {"gpu": "8"})
    waiting["metadata"]["labels"] |= {f"nvidia.com/{key}": value for key, value in labels.items()}
    assert inventory_of([waiting]).pools == ()
    waiting["metadata"]["labels"]["nvidia.com/mig.config.state"] = "success"
    assert pools(inventory_of([waiting])) == [("A100-80", None, 8, 1)]


def test_shared_gpus_are_not_counted() -> None:
    labels = {"gpu_memory": "81559", "gpu_compute_major": "9", "gpu_compute_minor": "0"}
    assert inventory_of([node(f"{H100}-SHARED", {"gpu": "80"}, **labels)]).pools == ()


def test_gpus_without_a_counted_resource_can_only_be_claimed() -> None:
    found = inventory_of([node(H100, {}, gpu_count="8")], device_classes=("gpu.nvidia.com",))
    assert [(pool.claimed, pool.gpus_per_node) for pool in found.pools] == [(True, 8)]
    assert found.device_classes == ("gpu.nvidia.com",)
    drained = inventory_of([node(H100, {"gpu": "0"}, gpu_count="8")])
    assert drained.pools == (), "a device plugin that counts none is not a driver for claims"


def test_the_resource_may_have_another_name() -> None:
    shown = node(H100, {})
    shown["status"]["allocatable"] = {"example.org/gpu": "8", "example.org/mig-1g.10gb": "7"}
    found = inventory_of([shown], resource="example.org/gpu")
    assert [pool.resource for pool in found.pools] == ["example.org/gpu", "example.org/mig-1g.10gb"]
    assert inventory_of([shown]).pools == ()


@given(st.permutations([node(H100, {"gpu": "8"}), node(H100, {"gpu": "4"}), node("NVIDIA-L4", {"gpu": "8"}),
                        node("NVIDIA-A100-SXM4-80GB", {"gpu": "1", "mig-1g.10gb": "3"})]))  # fmt: skip
def test_the_order_of_nodes_does_not_matter(nodes: list[dict[str, Any]]) -> None:
    in_order = sorted(nodes, key=lambda item: str(item))
    assert inventory_of(nodes) == inventory_of(in_order)


def test_nodes_are_described_in_words() -> None:
    found = described(["4xH100-80x8", "1xRTX-PRO-6000-96x2"])
    assert pools(found) == [("H100-80", None, 8, 4), ("RTX-PRO-6000-96", None, 2, 1)]
    parts = described(["2xH100-80x8"], mig_profile="1g.10gb").pools[0]
    assert (parts.gpus_per_node, parts.resource) == (56, "nvidia.com/mig-1g.10gb")


@pytest.mark.parametrize("text", ["", "8", "H100-80", "0xH100-80x8", "4xH100-80x0", "4xTPUx8", "-1xH100-80x8"])
def test_a_description_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(PoolError):
        described([text])


def test_a_profile_that_a_product_lacks_is_refused() -> None:
    with pytest.raises(PoolError, match="it has no profiles"):
        hypothetical(gpu="L40S-48", mig_profile="1g.10gb")


def test_the_table_of_products_holds_together() -> None:
    products = [product for gpu in gpu_table().values() for product in gpu.products]
    assert len(products) == len(set(products))
    for gpu in gpu_table().values():
        for part in gpu.mig:
            assert part.memory * part.most <= gpu.memory, (gpu.id, part.name)
            nominal = int(part.name.split(".")[1].removesuffix("gb"))
            assert 0.85 * nominal <= part.memory / GIB <= nominal, (gpu.id, part.name)
            assert nominal * part.most / (gpu.memory / GIB) + 0.5 > 0.5
