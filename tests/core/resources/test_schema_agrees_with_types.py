"""The schema that the API server enforces and the types that the program reads have the same fields."""

from pathlib import Path
from typing import Any, get_args, get_origin

import msgspec
import yaml
from paddock_core.resources.llamadeployment import LlamaDeployment, Spec, Status

CRD = Path(__file__).resolve().parents[3] / "crds" / "llamadeployments.yaml"
DOCUMENT = yaml.safe_load(CRD.read_text())
VERSION = DOCUMENT["spec"]["versions"][0]
ROOT = VERSION["schema"]["openAPIV3Schema"]["properties"]


def struct_of(kind: Any) -> type[msgspec.Struct] | None:
    """The struct inside an optional, a tuple or plain annotation."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return kind
    for part in get_args(kind):
        found = struct_of(part)
        if found is not None:
            return found
    return None


def json_type(kind: Any) -> set[str]:
    plain = {str: "string", int: "integer", bool: "boolean"}
    if kind in plain:
        return {plain[kind]}
    origin = get_origin(kind)
    if origin is tuple:
        return {"array"}
    if origin is dict or struct_of(kind):
        return {"object"}
    return {name for part in get_args(kind) if part is not type(None) for name in json_type(part)}


def walk(schema: dict[str, Any], struct: type[msgspec.Struct], path: str) -> None:
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    assert set(fields) == set(schema["properties"]), path
    for name, field in fields.items():
        below, here = schema["properties"][name], f"{path}.{name}"
        assert json_type(field.type) == {below["type"]}, here
        assert below.get("description"), f"{here} has no description"
        inner = struct_of(field.type)
        if inner is not None and below["type"] == "array":
            walk(below["items"], inner, f"{here}[]")
        elif inner is not None:
            walk(below, inner, here)
        if field.required:
            assert name in schema.get("required", ()), f"{here} is required by the type"


def test_spec_and_status_have_exactly_the_fields_of_the_types() -> None:
    walk(ROOT["spec"], Spec, "spec")
    walk(ROOT["status"], Status, "status")


def defaults(schema: dict[str, Any]) -> dict[str, Any]:
    """What the API server fills in."""
    filled = {}
    for name, below in schema.get("properties", {}).items():
        if below["type"] == "object" and "default" in below:
            filled[name] = {**below["default"], **defaults(below)}
        elif "default" in below:
            filled[name] = below["default"]
    return filled


def test_defaults_of_the_schema_are_those_of_the_types() -> None:
    from_schema = msgspec.convert({"model": {"id": "m"}, **defaults(ROOT["spec"])}, Spec)
    assert from_schema == msgspec.convert({"model": {"id": "m"}}, Spec)


def test_columns_subresources_and_names() -> None:
    columns = [column["name"] for column in VERSION["additionalPrinterColumns"]]
    assert columns == [
        *("Model", "Phase", "TP", "PP", "GPUs", "Ready", "License", "URL", "Age"),
        *("Reason", "Charged", "Wanted"),
    ]
    assert set(VERSION["subresources"]) == {"status", "scale"}
    assert DOCUMENT["spec"]["names"]["shortNames"] == ["llama"]
    assert DOCUMENT["metadata"]["name"] == "llamadeployments.paddock.dev"


def test_served_model_name() -> None:
    made = msgspec.convert(
        {"metadata": {"namespace": "n", "name": "d"}, "spec": {"model": {"id": "m"}}}, LlamaDeployment
    )
    assert made.served_model_name == "n/d"
