"""Files that the platform's team put in place itself: `{kind: local}`, below PADDOCK_SERVING_IMPORT_DIR."""

from paddock_serving.settings import PrepareSettings
from paddock_serving.weights.folder import Folder
from paddock_serving.weights.sources.base import Checkpoint, Source, catalogued


def open_source(*, checkpoint: Checkpoint, settings: PrepareSettings) -> Source:
    """The folder `<import_dir>/<model>/<precision>`."""
    name = f"{checkpoint.model}/{checkpoint.precision}"
    advice = f"copy the checkpoint's files of {checkpoint.model} there"
    return Folder(root=settings.import_dir / name, origin=f"local:{name}", listed=catalogued(checkpoint), advice=advice)
