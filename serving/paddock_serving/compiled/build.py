"""The engine Job: convert or quantise, build, verify by loading, and only then let the engine have its place.

    <volume>/<checkpoint key>/   the converted checkpoint, kept for other GPUs and limits
    <volume>/<engine key>/       the engine
    <volume>/.incoming/engine-<key>/   whichever of them is being made

Each has the model's mark, so that it goes with the model's files when those must go. A finished folder has its marker,
and is renamed as a whole: a Job that is killed anywhere leaves nothing half done in its place, and the next one goes on
with the step that was not finished.
"""

import json
import logging
import os
import shutil
import subprocess
import sys
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec
from paddock_core.engines.errors import EngineRequestError
from paddock_core.engines.marker import MARKER, Marker, Runtime, mismatch
from paddock_core.engines.recipe import Folders, Recipe, placed, recipe
from paddock_core.engines.request import EngineRequest, decode

from paddock_serving.compiled.calibration import digest_of
from paddock_serving.compiled.check import complete, read_marker
from paddock_serving.compiled.runtime import find_runtime, image_environment
from paddock_serving.errors import EngineBuildError, EngineIncompatibleError, ServingError
from paddock_serving.settings import BuildSettings
from paddock_serving.telemetry import span
from paddock_serving.weights.layout import INCOMING, folder_lock, locked, owner_mark, sync_folder, write_durably

log = logging.getLogger(__name__)

CHECKPOINT_MARK: Final = "checkpoint.json"
_WORDS_LINES: Final = 12
"""How many of a failed command's last lines are told."""


def build_engine(*, settings: BuildSettings) -> None:
    """Do the whole Job. Its result (JSON), or its error (text), is left in the termination log for the operator.

    Raises a ServingError if anything fails; running it again goes on with the step that failed.
    """
    log.info("building an engine", extra={"settings": settings.model_dump(mode="json")})
    try:
        with span("build-engine", model=settings.model):
            result = _run(settings)
    except ServingError as error:
        text = f"{type(error).__name__.removesuffix('Error')}: {error}"
        settings.termination_log.write_text(text, encoding="utf-8")
        raise
    settings.termination_log.write_text(json.dumps(result), encoding="utf-8")
    log.info("engine ready", extra=result)


def _run(settings: BuildSettings) -> dict[str, object]:
    try:
        request = decode(settings.engine)
        made = recipe(request)
    except EngineRequestError as error:
        raise EngineBuildError(str(error)) from error
    runtime = find_runtime(os.environ)
    _same(request, runtime)
    root = settings.weights_dir
    final = root / made.engine_key
    with locked(root / INCOMING / f"engine-{made.engine_key}.lock"):
        marker = read_marker(final)
        calibration = _calibration(settings, made)
        if marker is None or not _stands(final, marker, runtime, calibration):
            marker = _make(settings, request, made, runtime, calibration=calibration)
    return {"engine": made.engine_key, "bytes": sum(marker.files.values())}


def _calibration(settings: BuildSettings, made: Recipe) -> str | None:
    """Digest of the calibration set; empty where none is needed, None where it is and is not there."""
    if not made.quantizes:
        return ""
    try:
        return digest_of(settings.calibration_dir)
    except OSError as error:
        raise EngineBuildError(f"the calibration set cannot be read: {error}") from error


def _stands(final: Path, marker: Marker, runtime: Runtime, calibration: str | None) -> bool:
    """True if nothing has to be made anew. A set that was taken away takes no engine with it."""
    alike = calibration is None or calibration == marker.calibration
    return alike and complete(final, marker) and mismatch(marker, runtime) is None


def _same(request: EngineRequest, runtime: Runtime) -> None:
    """The image and the GPU must be those that the engine is asked for. Raises EngineIncompatibleError."""
    asked = Runtime(
        tensorrt_llm=request.tensorrt_llm, tensorrt=request.tensorrt, compute_capability=request.compute_capability
    )
    found = Marker(key="", request=request, runtime=asked, files={})
    wrong = mismatch(found, runtime)
    if wrong is not None:
        raise EngineIncompatibleError(
            f"{wrong.replace('was built with', 'is asked for with')}: the image or the node's labels say otherwise; "
            "pin the image (`paddock images pin`) or mend the labels"
        )


def _make(
    settings: BuildSettings, request: EngineRequest, made: Recipe, runtime: Runtime, *, calibration: str | None
) -> Marker:
    root = settings.weights_dir
    if calibration is None:
        raise EngineBuildError(
            f"{settings.calibration_dir} is missing: quantising needs a calibration set; put one there (texts, as "
            "quantize.py of TensorRT-LLM reads them), or choose the checkpoint's own precision"
        )
    work = _fresh(root / INCOMING / f"engine-{made.engine_key}", settings.model)
    folders = Folders(
        weights=str(root / request.weights),
        checkpoint=str(root / made.checkpoint_key),
        engine=str(work),
        calibration=str(settings.calibration_dir),
    )
    _checkpoint(settings, made, folders, calibration=calibration)
    with span("compile"):
        _command(placed(made.engine, folders), settings)
    _agrees(request, work)
    with span("verify"):
        _command(loading(request, engine=work, weights=folders.weights), settings)
    files = {path.name: path.stat().st_size for path in sorted(work.iterdir()) if not path.name.startswith(".")}
    marker = Marker(key=made.engine_key, request=request, runtime=runtime, files=files, calibration=calibration)
    write_durably(work / MARKER, msgspec.json.encode(marker))
    _place(root, work, root / made.engine_key)
    return marker


def _checkpoint(settings: BuildSettings, made: Recipe, folders: Folders, *, calibration: str) -> None:
    """The converted checkpoint, unless it is there from an earlier try or another engine, with the same scales."""
    root, final = settings.weights_dir, Path(folders.checkpoint)
    with locked(root / INCOMING / f"engine-{made.checkpoint_key}.lock"):
        if _calibrated_with(final) == calibration:
            log.info("the converted checkpoint is there already", extra={"key": made.checkpoint_key})
            (final / owner_mark(settings.model)).touch()
            return
        work = _fresh(root / INCOMING / f"engine-{made.checkpoint_key}", settings.model)
        with span("convert"):
            _command(placed(made.checkpoint, replace(folders, checkpoint=str(work))), settings)
        write_durably(
            work / CHECKPOINT_MARK, json.dumps({"key": made.checkpoint_key, "calibration": calibration}).encode()
        )
        _place(root, work, final)


def _calibrated_with(checkpoint: Path) -> str | None:
    """What its mark says; None where there is no converted checkpoint."""
    try:
        return str(json.loads((checkpoint / CHECKPOINT_MARK).read_bytes()).get("calibration", ""))
    except (OSError, ValueError, AttributeError):
        return None


def loading(request: EngineRequest, *, engine: Path, weights: str) -> list[str]:
    """The command that loads an engine and generates with it."""
    sizes = [str(request.tensor_parallel), str(request.pipeline_parallel), str(request.max_seq_len)]
    return ["python3", "-m", "paddock_serving.compiled.load", str(engine), weights, *sizes]


def _agrees(request: EngineRequest, engine: Path) -> None:
    """What was built must be cut as asked: a wrong pair of sizes with the right product goes unnoticed elsewhere."""
    try:
        mapping = json.loads((engine / "config.json").read_bytes())["pretrained_config"]["mapping"]
        found = (mapping["tp_size"], mapping["pp_size"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EngineBuildError(f"trtllm-build left no config.json that says how it is cut ({error!r})") from error
    if found != (request.tensor_parallel, request.pipeline_parallel):
        raise EngineBuildError(
            f"the engine is cut {found[0]} x {found[1]} instead of {request.tensor_parallel} x "
            f"{request.pipeline_parallel}: remove the converted checkpoint and run the Job again"
        )
    ranks = sorted(path.name for path in engine.glob("rank*.engine"))
    if len(ranks) != request.world_size:
        raise EngineBuildError(f"trtllm-build left {len(ranks)} ranks instead of {request.world_size}")


def _command(command: list[str], settings: BuildSettings) -> None:
    """Run one step in the image's own Python. Its output goes on to the log; the last lines are told if it fails."""
    log.info("running", extra={"command": command})
    environment = image_environment(os.environ) | {"PYTHONPATH": settings.model_packages, "HF_HUB_OFFLINE": "1"}
    last: deque[str] = deque(maxlen=_WORDS_LINES)
    try:
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        )
    except OSError as error:
        raise EngineBuildError(
            f"no {command[0]} here ({error}): `paddock images` lists which images have it"
        ) from error
    with process:
        for line in process.stdout or ():
            sys.stderr.write(line)
            last.append(line)
    if process.returncode != 0:
        raise EngineBuildError(f"{_name(command)} ended with {process.returncode}: {''.join(last).strip()}")


def _name(command: list[str]) -> str:
    """The program, or what Python runs."""
    words = [word for word in command if word not in ("python3", "-m")]
    return words[0].rpartition("/")[2]


def _fresh(work: Path, model: str) -> Path:
    """An empty folder with the model's mark; what a killed Job left there goes."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    (work / owner_mark(model)).touch()
    return work


def _place(root: Path, work: Path, final: Path) -> None:
    """Let a finished folder have its place. What lies there, and could not be loaded, makes room first."""
    old = root / INCOMING / f"old-{final.name}"
    with folder_lock(root, final):
        if final.exists():
            shutil.rmtree(old, ignore_errors=True)
            final.rename(old)
        work.rename(final)
        sync_folder(root)
    shutil.rmtree(old, ignore_errors=True)
