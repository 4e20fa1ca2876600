"""The catalogue that ships with Paddock. It reads files, but only its own package data, and once."""

from functools import cache
from importlib import resources

from paddock_core.catalog.loader import Catalog, load_catalog


@cache
def packaged_catalog() -> Catalog:
    """Every model, license and restriction file of this package."""
    return load_catalog(models=_folder("models"), licenses=_folder("licenses"), restrictions=_folder("restrictions"))


def _folder(name: str) -> dict[str, bytes]:
    folder = resources.files(__package__) / name
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.name.endswith(".yaml")}
