"""From a request to the commands that make the engine: `recipes.yaml`, read once."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import msgspec
import yaml

from paddock_core.engines.errors import EngineRequestError
from paddock_core.engines.request import EngineRequest, checkpoint_key, engine_key

Words = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Two commands, with folders still in braces, and the keys under which their results are kept."""

    quantizes: bool
    """True where the first command quantises, and needs a calibration set."""
    checkpoint: Words
    engine: Words
    checkpoint_key: str
    engine_key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Folders:
    """Where the commands read and write."""

    weights: str
    checkpoint: str
    engine: str
    calibration: str


def recipe(request: EngineRequest) -> Recipe:
    """How this engine is made. Raises EngineRequestError where TensorRT-LLM cannot make it."""
    table = _table()
    precision = _entry(table["precisions"], request.precision, "precision")
    cache_entry = _entry(table["kv_precisions"], request.kv_precision, "precision of the key-value cache")
    as_is = request.checkpoint_precision in precision["from"]
    quantizes = not as_is or "quantize" in cache_entry
    first = _quantize(table, precision, cache_entry, as_is=as_is) if quantizes else _convert(table, precision)
    last = [*_flat(table["build"]), *precision["build"], *cache_entry.get("build", ())]
    if request.tensor_parallel > 1:
        last += table["tensor_parallel_build"]
    figures = {
        **msgspec.to_builtins(request),
        "workers": request.world_size,
        "converter": _converter(table, request.architecture),
        **_calibration(table),
    }
    checkpoint, engine = _filled(first, figures), _filled(last, figures)
    return Recipe(
        quantizes=quantizes,
        checkpoint=checkpoint,
        engine=engine,
        checkpoint_key=checkpoint_key(request, recipe=checkpoint),
        engine_key=engine_key(request, recipe=[checkpoint, engine]),
    )


def placed(command: Words, folders: Folders) -> list[str]:
    """A command with its folders."""
    return [word.format_map(_names(folders)) for word in command]


def _convert(table: Mapping[str, Any], precision: Mapping[str, Any]) -> list[str]:
    return [*_flat(table["convert"]), *precision["convert"]]


def _quantize(
    table: Mapping[str, Any], precision: Mapping[str, Any], cache_entry: Mapping[str, Any], *, as_is: bool
) -> list[str]:
    """An unquantised checkpoint keeps its precision where only the cache has another one."""
    own = precision.get("quantize")
    if own is None and as_is:
        own = [*precision["convert"], *table["unquantized"]]
    if own is None or (as_is and "quantize" in precision):
        raise EngineRequestError(
            "TensorRT-LLM does not make this engine from this checkpoint: choose an unquantised checkpoint, or the "
            "checkpoint's own precision with a bf16 cache"
        )
    return [*_flat(table["quantize"]), *own, *cache_entry.get("quantize", ())]


def _converter(table: Mapping[str, Any], architecture: str) -> str:
    converters = table["converters"]
    if architecture not in converters:
        raise EngineRequestError(f"no engine is compiled of {architecture}: of {', '.join(converters)} one is")
    return str(converters[architecture])


def _calibration(table: Mapping[str, Any]) -> dict[str, Any]:
    return {"calibration_size": table["calibration_size"]}


def _filled(words: Iterable[str], figures: Mapping[str, Any]) -> Words:
    """Figures in, folders not yet."""
    kept = {name: f"{{{name}}}" for name in Folders.__slots__}
    return tuple(word.format_map({**figures, **kept}) for word in words)


def _names(folders: Folders) -> dict[str, str]:
    return {name: getattr(folders, name) for name in Folders.__slots__}


def _entry(entries: Mapping[str, Any], name: str, what: str) -> Mapping[str, Any]:
    if name not in entries:
        raise EngineRequestError(f"no engine has the {what} {name}: it is one of {', '.join(entries)}")
    entry: Mapping[str, Any] = entries[name]
    return entry


def _flat(rows: Iterable[Iterable[str]]) -> list[str]:
    return [word for row in rows for word in row]


@cache
def _table() -> Mapping[str, Any]:
    document: Mapping[str, Any] = yaml.load(
        (resources.files(__package__) / "recipes.yaml").read_bytes(), Loader=yaml.CSafeLoader
    )
    return document
