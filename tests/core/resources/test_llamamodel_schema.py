"""The schema of LlamaModels and the types that the program reads have the same fields."""

from pathlib import Path
from typing import Any, get_args, get_origin

import msgspec
import pytest
import yaml
from paddock_core.catalog.sources import SOURCES
from paddock_core.licensing.kinds import MODEL_KINDS
from paddock_core.planning.fit import FORMATS
from paddock_core.resources import llamadeployment, llamamodel
from paddock_core.resources.llamamodel import LlamaModel, Spec, Status

CRDS = Path(__file__).resolve().parents[3] / "crds"
DOCUMENT = yaml.safe_load((CRDS / "llamamodels.yaml").read_text())
VERSION = DOCUMENT["spec"]["versions"][0]
ROOT = VERSION["schema"]["openAPIV3Schema"]["properties"]
PLAIN = {str: "string", int: "integer", bool: "boolean"}


def json_type(kind: Any) -> str:
    """The JSON type of an annotation, without what makes it optional."""
    if kind in PLAIN:
        return PLAIN[kind]
    if get_origin(kind) is tuple:
        return "array"
    parts = [part for part in get_args(kind) if part is not type(None)]
    return json_type(parts[0]) if get_origin(kind) is not dict and parts else "object"


def struct_of(kind: Any) -> type[msgspec.Struct] | None:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return kind
    return next((found for part in get_args(kind) if (found := struct_of(part)) is not None), None)


def walk(schema: dict[str, Any], struct: type[msgspec.Struct], path: str) -> None:
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    assert set(fields) == set(schema["properties"]), path
    assert {name for name, field in fields.items() if field.required} == set(schema.get("required", ())), path
    for name, field in fields.items():
        below, here = schema["properties"][name], f"{path}.{name}"
        assert below["type"] == json_type(field.type), here
        assert below["description"], here
        inner = struct_of(field.type)
        if inner is not None:
            walk(below["items"] if below["type"] == "array" else below, inner, here)


@pytest.mark.parametrize(("part", "struct"), [("spec", Spec), ("status", Status)])
def test_fields_are_those_of_the_types(part: str, struct: type[msgspec.Struct]) -> None:
    walk(ROOT[part], struct, part)


def test_defaults_kinds_and_formats_are_those_of_the_program() -> None:
    fields = ROOT["spec"]["properties"]
    filled = {name: field["default"] for name, field in fields.items() if "default" in field}
    assert msgspec.convert({"base": "m", **filled}, Spec) == Spec(base="m")
    assert fields["kind"]["enum"] == list(MODEL_KINDS)
    assert set(fields["weights"]["properties"]["format"]["enum"]) == set(FORMATS.values())


def test_a_model_can_be_named_by_every_deployment() -> None:
    deployments = yaml.safe_load((CRDS / "llamadeployments.yaml").read_text())
    spec = deployments["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    named = spec["properties"]["model"]["properties"]["id"]
    base = ROOT["spec"]["properties"]["base"]
    assert {key: base[key] for key in ("pattern", "minLength", "maxLength")} == {
        key: named[key] for key in ("pattern", "minLength", "maxLength")
    }
    assert (llamamodel.GROUP, llamamodel.VERSION) == (llamadeployment.GROUP, llamadeployment.VERSION)
    assert DOCUMENT["metadata"]["name"] == f"{llamamodel.PLURAL}.{llamamodel.GROUP}"


def test_a_registration_holds_all_that_the_object_says() -> None:
    weights = {"precision": "q4", "format": "gguf", "bytes": 9, "source": {"kind": "local"}, "revision": "1"}
    files = [{"name": "a.gguf", "sha256": "0" * 64, "bytes": 8}]
    spec = {"base": "m", "kind": "merge", "publicName": "N", "teachers": ["t"], "published": False, "owner": "o",
            "mergedWith": ["p"]}  # fmt: skip
    made = msgspec.convert(
        {"metadata": {"name": "x"}, "spec": {**spec, "weights": {**weights, "files": files}}}, LlamaModel
    ).registered()
    assert (made.id, made.base, made.kind, made.public_name, made.teachers) == ("x", "m", "merge", "N", ("t",))
    assert made.merged_with == ("p",)
    assert (made.published, made.owner, made.precision) == (False, "o", "q4")
    assert made.weights is not None
    assert msgspec.to_builtins(made.weights) == {
        **{k: v for k, v in weights.items() if k != "precision"},
        "files": tuple(files),
        "basis": "files",
        "compute_capability": None,
    }
    assert msgspec.convert({"metadata": {"name": "x"}, "spec": {"base": "m"}}, LlamaModel).registered().weights is None


def test_the_schema_asks_of_each_kind_of_source_what_the_product_asks() -> None:
    text = (CRDS / "llamamodels.yaml").read_text()
    assert f"self['kind'] in {[*SOURCES]}" in text
    for kind, needed in SOURCES.items():
        for name in needed:
            assert f"self['kind'] != '{kind}' || '{name}' in self" in text
