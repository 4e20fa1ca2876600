"""The purge Job: removes every copy of a model's files from the volume, and tells the control plane their digests.

What is going to be removed is written down on the volume first, and forgotten only once the control plane knows it: a
Job that is killed anywhere, and run again, tells all of it.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx

from paddock_serving.errors import ServingError
from paddock_serving.settings import PurgeSettings
from paddock_serving.telemetry import span
from paddock_serving.weights.layout import (
    INCOMING,
    OWNER,
    fetch_lock,
    folder_lock,
    owner_mark,
    owners,
    verified,
    write_durably,
)
from paddock_serving.weights.notice import renew_notice
from paddock_serving.weights.publish import ControlPlane
from paddock_serving.weights.sources.base import CHUNK

log = logging.getLogger(__name__)

_NOTES = ".purges"


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """A file that goes: its place on the volume, hex SHA-256, size in bytes."""

    path: str
    sha256: str
    bytes: int


def purge(*, settings: PurgeSettings) -> None:
    """Do the whole Job; its result, or its error, is left in the termination log.

    Raises a ServingError if the control plane cannot be told; running it again goes on where it stopped.
    """
    log.info("purging", extra={"settings": settings.model_dump(mode="json")})
    try:
        with span("purge-weights", model=settings.model), httpx.Client(timeout=60.0) as client:
            removed, kept = _run(settings, client)
    except ServingError as error:
        settings.termination_log.write_text(f"{type(error).__name__.removesuffix('Error')}: {error}", encoding="utf-8")
        raise
    result = {"files": len(removed), "bytes": sum(item.bytes for item in removed), "kept": len(kept)}
    settings.termination_log.write_text(json.dumps(result), encoding="utf-8")
    log.info("purged", extra=result)


def _run(settings: PurgeSettings, client: httpx.Client) -> tuple[list[Removed], list[str]]:
    control_plane = ControlPlane(url=settings.controlplane_url, token=settings.purge_token, client=client)
    note = settings.weights_dir / _NOTES / f"{settings.purge}.json"
    removed, kept = _noted(note), []
    for folder in _folders(settings):
        with _held(settings, folder):
            # Whose it is may have changed while the lock was waited for, and so may all that lies there.
            if owners(folder) - {settings.model}:
                # Another model's license holds these very bytes: only our claim to them goes.
                renew_notice(folder, without=settings.model)
                (folder / owner_mark(settings.model)).unlink(missing_ok=True)
                kept.append(folder)
            elif folder.is_dir():
                removed |= {item.path: item for item in _contents(folder, settings.weights_dir)}
                _write(note, removed)
                _remove(folder)
    found = [removed[path] for path in sorted(removed)]
    names = sorted(str(folder.relative_to(settings.weights_dir)) for folder in kept)
    control_plane.tell_removed(purge=settings.purge, removed=[asdict(item) for item in found], kept=names)
    for path in (settings.weights_dir / INCOMING).glob(f".tries-{settings.model}@*"):
        path.unlink(missing_ok=True)
    note.unlink(missing_ok=True)
    return found, names


@contextmanager
def _held(settings: PurgeSettings, folder: Path) -> Iterator[None]:
    """The folder's lock; and where nobody else waits for what is being fetched there, that of fetching before it."""
    with ExitStack() as stack:
        if not owners(folder) - {settings.model}:
            stack.enter_context(fetch_lock(settings.weights_dir, folder))
        stack.enter_context(folder_lock(settings.weights_dir, folder))
        yield


def _folders(settings: PurgeSettings) -> list[Path]:
    """Folders in which files of this model may lie."""
    root, model = settings.weights_dir, settings.model
    stored = [root / digest for digest in settings.digests]
    stored += [path.parent for path in root.glob(f"*/{owner_mark(model)}")]
    found = sorted({path for path in stored if path.is_dir()})
    # What was being fetched. Names alone do not say whose it is: one model's name may begin with another's.
    found += sorted(path.parent for path in (root / INCOMING).glob(f"*/{owner_mark(model)}"))
    brought = root / "import" / model
    if settings.imports and brought.is_dir():
        found.append(brought)
    return found


def _contents(folder: Path, root: Path) -> Iterator[Removed]:
    known = _verified(folder)
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            state = path.stat()
            sha256, size, changed = known.get(path.name, ("", -1, -1))
            if (size, changed) != (state.st_size, state.st_mtime_ns):
                sha256 = _digest(path)
            yield Removed(path=str(path.relative_to(root)), sha256=sha256, bytes=state.st_size)


def _verified(folder: Path) -> dict[str, tuple[str, int, int]]:
    """Digest, size and time of files that were verified here; nothing where that cannot be read."""
    try:
        return {
            name: (str(mark[0]), int(str(mark[1])), int(str(mark[2])))
            for name, mark in (verified(folder) or {}).items()
        }
    except (ValueError, AttributeError, IndexError, TypeError):
        return {}


def _digest(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as handle:
        for chunk in iter(lambda: handle.read(CHUNK), b""):
            found.update(chunk)
    return found.hexdigest()


def _remove(folder: Path) -> None:
    """The model's mark goes last: as long as anything is left, the next run finds it."""
    for path in sorted(folder.iterdir(), key=lambda path: path.name.startswith(OWNER)):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    folder.rmdir()


def _noted(note: Path) -> dict[str, Removed]:
    """What an interrupted run of this purge has written down."""
    try:
        return {item["path"]: Removed(**item) for item in json.loads(note.read_bytes())}
    except FileNotFoundError:
        return {}


def _write(note: Path, removed: dict[str, Removed]) -> None:
    note.parent.mkdir(parents=True, exist_ok=True)
    write_durably(note, json.dumps([asdict(item) for item in removed.values()]).encode())
