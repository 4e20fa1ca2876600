"""Defaults of our own custom resources, as their schemas give them."""

from functools import cache
from typing import Any

import yaml
from paddock_local.paths import find_checkout
from paddock_operator.kinds import Kind
from paddock_operator.ports import Manifest


def with_defaults(manifest: Manifest, kind: Kind) -> Manifest:
    """The object with what its schema fills in; the same object where its kind has no schema here."""
    schema = _schemas().get((kind.group, kind.version, kind.plural))
    if schema is None:
        return manifest
    filled: Manifest = _filled(manifest, schema)
    return filled


@cache
def _schemas() -> dict[tuple[str, str, str], dict[str, Any]]:
    found = {}
    for file in sorted((find_checkout() / "crds").glob("*.yaml")):
        spec = yaml.safe_load(file.read_text())["spec"]
        for version in spec["versions"]:
            found[spec["group"], version["name"], spec["names"]["plural"]] = version["schema"]["openAPIV3Schema"]
    return found


def _filled(value: Any, schema: dict[str, Any]) -> Any:
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
