"""The APIs that the gateway speaks, found by folder: every module here with a `DIALECT`."""

import importlib
import pkgutil

from paddock_gateway.dialects.base import Dialect


def load_dialects() -> tuple[Dialect, ...]:
    """Every dialect of this folder, by name of its module."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    return tuple(module.DIALECT for module in modules if hasattr(module, "DIALECT"))
