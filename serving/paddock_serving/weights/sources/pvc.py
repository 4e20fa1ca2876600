"""A folder of another claim: `{kind: pvc, claim: NAME, path: FOLDER}`. The operator mounts the claim, read-only, at
PADDOCK_SERVING_SOURCE_DIR."""

from paddock_serving.errors import WeightsError
from paddock_serving.settings import PrepareSettings
from paddock_serving.weights.folder import Folder
from paddock_serving.weights.sources.base import Checkpoint, Source, catalogued


def open_source(*, checkpoint: Checkpoint, settings: PrepareSettings) -> Source:
    """The folder in the claim. Raises WeightsError for one that leads out of it."""
    claim, path = checkpoint.weights.source["claim"], checkpoint.weights.source.get("path", "")
    top = settings.source_dir.resolve()
    root = (top / path).resolve()
    if not root.is_relative_to(top):
        raise WeightsError(f"path {path!r} leads out of claim {claim}: name a folder in it")
    advice = f"copy the checkpoint's files to {path or 'the top folder'} of claim {claim}"
    return Folder(root=root, origin=f"pvc:{claim}/{path.strip('/')}", listed=catalogued(checkpoint), advice=advice)
