"""The planner's constants, precisions and engines, from the packaged table `planning.yaml`."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from importlib import resources
from typing import Any

import msgspec
import yaml

from paddock_core.planning.errors import ConstantsError

MIB = 1024**2
GIB = 1024**3
_UNITS = {"GiB": GIB, "MiB": MIB}
"""Units whose values are kept in bytes; every other is kept as it stands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Constants:
    """Reserves of the planner. Sizes are bytes. What each means, and its source, stands in `planning.yaml`."""

    cache_fraction: float
    weights_factor: float
    gpu_runtime: int
    gpu_communication: int
    activation_copies: float
    max_batched_tokens: int
    kv_block_tokens: int
    max_batch: int
    default_context: int
    gpu_concurrency: int
    cpu_concurrency: int
    cpu_process: int
    cpu_compute_fraction: float
    cpu_millicores_per_billion: int
    cpu_millicores_min: int
    cpu_millicores_max: int
    gpu_host_memory_fraction: float
    gpu_host_memory_min: int
    gpu_millicores_per_gpu: int


class Row(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One constant as the table has it, for people."""

    value: float
    unit: str
    basis: str
    """documented, measured or assumed."""
    meaning: str
    source: str


class Precision(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What weights can be kept in."""

    bytes: float
    """Of one parameter of the layers' matrices."""
    compute_capability: int
    cast_from: tuple[str, ...] = ()
    quantized_from: tuple[str, ...] = ()
    dtype: str | None = None
    """TensorRT-LLM's word for it, where an engine casts into it."""


class KvPrecision(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the key-value cache can be kept in."""

    bytes: int
    compute_capability: int


class EngineRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an engine loads."""

    format: str
    quantizes: bool = False
    """True where it is built, and can be built in a smaller precision than the checkpoint's."""
    one_node: bool = False
    """True where a copy must fit one node: an engine is compiled and verified in one pod."""
    architectures: tuple[str, ...] = ()
    """Empty: any."""

    def runs(self, architecture: str) -> bool:
        return not self.architectures or architecture in self.architectures


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole of `planning.yaml`."""

    constants: dict[str, Row]
    precisions: dict[str, Precision]
    kv_precisions: dict[str, KvPrecision]
    engines: dict[str, EngineRow]


@cache
def table() -> Table:
    """The packaged table."""
    data = (resources.files("paddock_core.catalog") / "planning.yaml").read_bytes()
    return msgspec.convert(yaml.load(data, Loader=yaml.CSafeLoader), Table)


@cache
def packaged_constants() -> Constants:
    """The constants of the packaged table."""
    return Constants(**{name: _in_bytes(name, row.value) for name, row in table().constants.items()})


def overridden(constants: Constants, values: Any) -> Constants:
    """Constants with some replaced by a mapping of names to numbers, in the units of the table (GiB where it says GiB).

    Raises ConstantsError for what is no mapping, a name that is no constant, or a value that is no positive number.
    """
    if not isinstance(values, Mapping):
        raise ConstantsError("expected a mapping of constants to numbers")
    known = {item.name for item in fields(Constants)}
    unknown = sorted({str(name) for name in values} - known)
    if unknown:
        raise ConstantsError(f"no constants {', '.join(unknown)}: there are {', '.join(sorted(known))}")
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 2**53:
            raise ConstantsError(f"{name} must be a number above 0, not {value!r}")
    if values.get("cache_fraction", 1) > 1:
        raise ConstantsError("cache_fraction is a part of the free memory: at most 1")
    kept = {name: _in_bytes(name, value) for name, value in values.items()}
    nothing = sorted(name for name, value in kept.items() if not value)
    if nothing:
        raise ConstantsError(f"{', '.join(nothing)}: too small, it would be rounded to 0")
    return replace(constants, **kept)


def shown(constants: Constants) -> dict[str, float]:
    """The constants in the units of the table."""
    return {name: getattr(constants, name) / _UNITS.get(row.unit, 1) for name, row in table().constants.items()}


def _in_bytes(name: str, value: float) -> Any:
    """The value as `Constants` keeps it: whole numbers but for fractions and the copies of activations."""
    row = table().constants[name]
    scaled = value * _UNITS.get(row.unit, 1)
    return scaled if row.unit == "fraction" or name == "activation_copies" else round(scaled)
