"""Countries, and named areas of them that licenses speak of, from `areas.yaml`. Codes are ISO 3166-1 alpha-2."""

from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

import yaml


@cache
def known_countries() -> frozenset[str]:
    """Every code that names a place; any other is as good as none."""
    return frozenset(str(_document()["countries"]).split())


def countries(*, names: tuple[str, ...]) -> frozenset[str]:
    """The countries of these areas; a name that is no area is a country's own code."""
    areas = _areas()
    return frozenset().union(*(areas.get(name, frozenset((name,))) for name in names))


@cache
def _areas() -> Mapping[str, frozenset[str]]:
    return {name: frozenset(codes.split()) for name, codes in _document()["areas"].items()}


@cache
def _document() -> dict[str, Any]:
    found: dict[str, Any] = yaml.load(
        (resources.files(__package__) / "areas.yaml").read_bytes(), Loader=yaml.CSafeLoader
    )
    return found
