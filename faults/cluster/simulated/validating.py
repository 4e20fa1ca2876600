"""What the API server does to our own custom resources by their schemas: drop what they do not know, fill in defaults,
refuse what they do not allow. Rules in CEL (`x-kubernetes-validations`) are not looked at."""

import re
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from typing import Any

import yaml
from paddock_local.paths import find_checkout
from paddock_operator.kinds import Kind
from paddock_operator.ports import Manifest

Schema = dict[str, Any]
_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list, tuple),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
}
_RANGES = {"int32": 2**31, "int64": 2**63}
_KEPT = "x-kubernetes-preserve-unknown-fields"


def schema_of(kind: Kind) -> Schema | None:
    """The schema of a kind; None for those of Kubernetes itself and of others."""
    return _schemas().get((kind.group, kind.version, kind.plural))


def with_defaults(manifest: Manifest, kind: Kind) -> Manifest:
    """The object with what its schema fills in; the same object where its kind has no schema here."""
    schema = schema_of(kind)
    if schema is None:
        return manifest
    filled: Manifest = _filled(manifest, schema)
    return filled


def pruned(manifest: Manifest, kind: Kind) -> Manifest:
    """The object without the fields of `spec` and `status` that its schema does not know."""
    schema = schema_of(kind)
    if schema is None:
        return manifest
    below, head = schema["properties"], ("apiVersion", "kind", "metadata")
    rest = {name: _pruned(value, below[name]) for name, value in _parts(manifest).items() if name in below}
    return {**{name: manifest[name] for name in head if name in manifest}, **rest}


def untyped(manifest: Manifest, kind: Kind) -> list[str]:
    """What server-side apply, which reads an object by its schema, cannot read: unknown fields, and other types."""
    schema = schema_of(kind)
    return [] if schema is None else list(_untyped(_parts(manifest), {**schema, "required": ()}, path=""))


def faults(manifest: Manifest, kind: Kind, *, part: str = "spec") -> list[str]:
    """What the schema does not allow in this part, each with its path; empty where the API server would take it."""
    schema = schema_of(kind)
    if schema is None:
        return []
    if part not in manifest:
        return [f"{part}: required"] if part in schema.get("required", ()) else []
    return list(_faults(manifest[part], schema["properties"][part], path=part))


def _parts(manifest: Manifest) -> Manifest:
    return {name: manifest[name] for name in ("spec", "status") if name in manifest}


@cache
def _schemas() -> dict[tuple[str, str, str], Schema]:
    found = {}
    for file in sorted((find_checkout() / "crds").glob("*.yaml")):
        spec = yaml.safe_load(file.read_text())["spec"]
        for version in spec["versions"]:
            found[spec["group"], version["name"], spec["names"]["plural"]] = version["schema"]["openAPIV3Schema"]
    return found


def _filled(value: Any, schema: Schema) -> Any:
    if isinstance(value, list) and "items" in schema:
        return [_filled(item, schema["items"]) for item in value]
    if not isinstance(value, dict):
        return value
    result = dict(value)
    for name, below in schema.get("properties", {}).items():
        if name not in result and "default" in below:
            result[name] = below["default"]
        if name in result:
            result[name] = _filled(result[name], below)
    return result


def _pruned(value: Any, schema: Schema) -> Any:
    if isinstance(value, list) and "items" in schema:
        return [_pruned(item, schema["items"]) for item in value]
    if not isinstance(value, dict) or schema.get(_KEPT):
        return value
    known, more = schema.get("properties", {}), schema.get("additionalProperties")
    if more is True:
        return value
    below = {name: known.get(name, more) for name in value}
    return {name: _pruned(item, below[name]) for name, item in value.items() if below[name]}


def _untyped(value: Any, schema: Schema, *, path: str) -> Iterator[str]:
    type_ = schema.get("type")
    if value is None or schema.get(_KEPT):
        return
    if type_ and not _is_of(value, type_):
        yield f"{path}: must be of type {type_}"
    elif isinstance(value, dict):
        known, more = schema.get("properties", {}), schema.get("additionalProperties")
        for name, item in value.items():
            below = known.get(name, more)
            if not below:
                yield f"{path}.{name}: field not declared in schema"
            elif isinstance(below, dict):
                yield from _untyped(item, below, path=f"{path}.{name}")
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _untyped(item, schema.get("items", {}), path=f"{path}[{number}]")


def _is_of(value: Any, type_: str) -> bool:
    return isinstance(value, _TYPES[type_]) and (type_ == "boolean" or not isinstance(value, bool))


def _faults(value: Any, schema: Schema, *, path: str) -> Iterator[str]:
    if value is None:
        if not schema.get("nullable"):
            yield f"{path}: may not be null"
        return
    type_ = schema.get("type")
    if type_ and not _is_of(value, type_):
        yield f"{path}: must be of type {type_}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{path}: is none of {schema['enum']}"
    match value:
        case dict():
            yield from _of_object(value, schema, path=path)
        case list() | tuple():
            yield from _of_list(value, schema, path=path)
        case str():
            yield from _of_text(value, schema, path=path)
        case int() | float() if not isinstance(value, bool):
            yield from _of_number(value, schema, path=path)


def _of_object(value: dict[str, Any], schema: Schema, *, path: str) -> Iterator[str]:
    yield from (f"{path}.{name}: required" for name in schema.get("required", ()) if name not in value)
    yield from _sized(len(value), schema, least="minProperties", most="maxProperties", path=path)
    known, more = schema.get("properties", {}), schema.get("additionalProperties")
    for name, item in value.items():
        below = known.get(name, more)
        if isinstance(below, dict):
            yield from _faults(item, below, path=f"{path}.{name}")


def _of_list(value: Any, schema: Schema, *, path: str) -> Iterator[str]:
    yield from _sized(len(value), schema, least="minItems", most="maxItems", path=path)
    for number, item in enumerate(value):
        yield from _faults(item, schema.get("items", {}), path=f"{path}[{number}]")
    keys = schema.get("x-kubernetes-list-map-keys", ())
    if schema.get("x-kubernetes-list-type") == "set":
        told = [repr(item) for item in value]
    elif keys:
        told = [repr([item.get(key) for key in keys]) for item in value if isinstance(item, dict)]
    else:
        return
    if len(set(told)) < len(told):
        yield f"{path}: holds something twice"


def _of_text(value: str, schema: Schema, *, path: str) -> Iterator[str]:
    yield from _sized(len(value), schema, least="minLength", most="maxLength", path=path)
    if "pattern" in schema and not _pattern(schema["pattern"]).search(value):
        yield f"{path}: does not match {schema['pattern']}"
    if schema.get("format") == "date-time" and not _is_time(value):
        yield f"{path}: is no time"


def _of_number(value: float, schema: Schema, *, path: str) -> Iterator[str]:
    yield from _sized(value, schema, least="minimum", most="maximum", path=path)
    most = _RANGES.get(str(schema.get("format")))
    if most and not -most <= value < most:
        yield f"{path}: is no {schema['format']}"


def _sized(size: float, schema: Schema, *, least: str, most: str, path: str) -> Iterator[str]:
    if size < schema.get(least, size):
        yield f"{path}: {least} is {schema[least]}"
    if size > schema.get(most, size):
        yield f"{path}: {most} is {schema[most]}"


@cache
def _pattern(text: str) -> re.Pattern[str]:
    """As the API server reads it: `$` is the very end there, and not before a last line break too."""
    return re.compile(re.sub(r"(?<!\\)\$", r"\\Z", text))


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return "T" in text
