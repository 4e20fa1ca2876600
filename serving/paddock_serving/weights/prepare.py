"""The weights Job: ask for leave, fetch and verify, publish the tokenizer, tell the operator."""

import json
import logging
from contextlib import closing

import httpx
from paddock_core.catalog.loader import Catalog
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.catalog.types import LicenseEntry
from paddock_core.serving.tokenizer_document import encode_document

from paddock_serving.errors import ServingError, WeightsError
from paddock_serving.settings import PrepareSettings
from paddock_serving.telemetry import span
from paddock_serving.weights.layout import Stored
from paddock_serving.weights.notice import write_notice
from paddock_serving.weights.progress import Progress, telling
from paddock_serving.weights.publish import ControlPlane
from paddock_serving.weights.shape import Shape
from paddock_serving.weights.sources.base import Checkpoint, open_source
from paddock_serving.weights.store import Store, Want
from paddock_serving.weights.tokenizer import read_tokenizer
from paddock_serving.weights.tries import Tries, last_words

log = logging.getLogger(__name__)


def prepare(*, settings: PrepareSettings) -> None:
    """Do the whole Job. Its result (JSON), or its error (text), is left in the termination log for the operator.

    Raises a ServingError if anything fails; running it again goes on where it stopped.
    """
    log.info("preparing weights", extra={"settings": settings.model_dump(mode="json")})
    progress = Progress()
    tries = Tries(root=settings.weights_dir, model=settings.model, precision=settings.precision or "default")
    try:
        with (
            telling(progress, address=settings.bind, port=settings.progress_port),
            span("prepare-weights", model=settings.model),
            httpx.Client(timeout=60.0) as client,
        ):
            result = _run(settings=settings, client=client, progress=progress)
    except ServingError as error:
        _report(settings, last_words(error, seconds=tries.failed(error)))
        raise
    tries.succeeded()
    _report(settings, json.dumps(result))
    log.info("weights ready", extra=result)


def wanted(settings: PrepareSettings) -> Checkpoint:
    """The checkpoint that the Job is for: registered models are not in the catalogue. Raises WeightsError."""
    if settings.checkpoint is not None and settings.precision is not None:
        return Checkpoint(model=settings.model, precision=settings.precision, weights=settings.checkpoint)
    return find_checkpoint(model=settings.model, precision=settings.precision, catalog=packaged_catalog())


def licenses_of(settings: PrepareSettings, *, catalog: Catalog) -> tuple[LicenseEntry, ...]:
    """The licenses whose notices lie beside the files: those that the operator names, else the catalogue's."""
    entry = catalog.model(settings.model)
    named = settings.licenses or (() if entry is None else entry.licenses)
    return tuple(catalog.licenses[name] for name in named if name in catalog.licenses)


def find_checkpoint(*, model: str, precision: str | None, catalog: Catalog) -> Checkpoint:
    """The checkpoint to prepare. Raises WeightsError if the catalogue has none."""
    entry = catalog.model(model)
    if entry is None:
        raise WeightsError(f"no model {model!r} in the catalogue; `paddock model list` shows them")
    chosen = precision or entry.default_precision
    if chosen not in entry.weights:
        raise WeightsError(f"model {model} has no checkpoint in {chosen}; it has {', '.join(entry.weights)}")
    return Checkpoint(model=model, precision=chosen, weights=entry.weights[chosen])


def shape_of(settings: PrepareSettings, *, catalog: Catalog) -> Shape:
    """What the files must be: as the operator says, else as the catalogue does. Raises WeightsError."""
    if settings.dimensions is not None and settings.parameters is not None:
        return Shape(dimensions=settings.dimensions, parameters=settings.parameters)
    entry = catalog.model(settings.model)
    if entry is None:
        raise WeightsError(f"what {settings.model} was made from is not known: set PADDOCK_SERVING_DIMENSIONS")
    return Shape(dimensions=entry.dimensions, parameters=entry.parameters)


def _run(*, settings: PrepareSettings, client: httpx.Client, progress: Progress) -> dict[str, object]:
    checkpoint, shape = wanted(settings), shape_of(settings, catalog=packaged_catalog())
    control_plane = ControlPlane(url=settings.controlplane_url, token=settings.decision_token, client=client)
    control_plane.ask_leave(model=settings.model)
    store = Store(root=settings.weights_dir, progress=progress, connections=settings.connections)
    with span("fetch"), closing(open_source(checkpoint=checkpoint, settings=settings)) as source:
        want = Want(check=shape.check, name=shape.name)
        stored = store.obtain(checkpoint=checkpoint, source=source, want=want)
    licenses = licenses_of(settings, catalog=packaged_catalog())
    write_notice(root=settings.weights_dir, folder=stored.folder, model=settings.model, licenses=licenses)
    with span("tokenizer"):
        digest = control_plane.publish(encode_document(read_tokenizer(stored.folder)))
    return {"tokenizer": digest, "weights": stored.digest, "bytes": stored.bytes, "path": _model_path(stored)}


def _model_path(stored: Stored) -> str:
    """What an engine loads: the file itself for GGUF, else the folder."""
    files = [name for name in stored.files if name.endswith(".gguf")]
    return str(stored.folder / files[0]) if len(files) == len(stored.files) == 1 else str(stored.folder)


def _report(settings: PrepareSettings, text: str) -> None:
    settings.termination_log.write_text(text, encoding="utf-8")
