"""The GPU products, from the packaged `gpus.yaml`."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib import resources
from typing import Any

import yaml

from paddock_core.planning.constants import GIB, MIB
from paddock_core.planning.types import Gpu, MigProfile


@cache
def gpu_table() -> Mapping[str, Gpu]:
    """Every known GPU product by id."""
    file = resources.files("paddock_core.catalog") / "gpus.yaml"
    document = yaml.load(file.read_bytes(), Loader=yaml.CSafeLoader)
    return {row["id"]: _gpu(row) for row in document["gpus"]}


def mig_profiles(gpu: str | None) -> frozenset[str]:
    """Profiles that this product can be cut into; of all products where it is None or not in the table."""
    known = gpu_table().get(gpu or "")
    chosen = [known] if known else gpu_table().values()
    return frozenset(profile.name for product in chosen for profile in product.mig)


def part_of(gpu: Gpu, profile: str) -> Gpu | None:
    """The part of a GPU as a GPU of its own: less memory, no link to its neighbours. None for a profile it lacks."""
    found = next((item for item in gpu.mig if item.name == profile), None)
    return None if found is None else replace(gpu, memory=found.memory, nvlink=False)


def _gpu(row: Mapping[str, Any]) -> Gpu:
    return Gpu(
        id=row["id"],
        memory=row["memory_mib"] * MIB,
        compute_capability=row["compute_capability"],
        nvlink=row["nvlink"],
        products=tuple(row["products"]),
        per_node=row["per_node"],
        mig=tuple(
            MigProfile(name=name, memory=round(part["memory_gib"] * GIB), most=part["most"])
            for name, part in row.get("mig", {}).items()
        ),
    )
