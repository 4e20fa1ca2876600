"""The weights volume: `<root>/<digest>/<file name>`, each file complete and verified before it has that name.

A checkpoint of one file lies under that file's SHA-256; one of several under the SHA-256 of the lines
`<sha256>  <name>`, sorted by name. What is being fetched lies in `<root>/.incoming/`; an interrupted fetch goes on
there.
"""

import fcntl
import hashlib
import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from paddock_serving.errors import WeightsError, WeightsMismatchError
from paddock_serving.weights.sources.base import CHUNK, Checkpoint, Expected, Source

log = logging.getLogger(__name__)

MARK: Final = ".verified.json"
INCOMING: Final = ".incoming"
OWNER: Final = ".of-"
NOTICE: Final = "Notice"
CONFIGURATION: Final = "config.json"
_PROGRESS_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A checkpoint in its final place."""

    digest: str
    folder: Path
    files: dict[str, str]
    """Name of a file to its hex SHA-256."""

    @property
    def bytes(self) -> int:
        return sum((self.folder / name).stat().st_size for name in self.files)


class Check(Protocol):
    """Looks at a folder of fetched files."""

    def __call__(self, folder: Path, *, complete: bool) -> None:
        """Raises WeightsMismatchError if they are not what is wanted; `complete` where all of them are there."""


class Store:
    """The volume. One writer a checkpoint at a time: a second one waits, and finds the work done."""

    def __init__(self, *, root: Path) -> None:
        self._root = root

    def obtain(self, *, checkpoint: Checkpoint, source: Source, check: Check | None = None) -> Stored:
        """Give the checkpoint, fetching what is missing.

        What lies there for other models only is fetched all the same: who names a digest must bring its bytes.
        `check` looks at the folder of what was fetched before it gets its place, and whether that is all of it.

        Raises WeightsError if a file is not the one expected, and what `check` raises.
        """
        model = checkpoint.model
        incoming = self._root / INCOMING / f"{model}-{checkpoint.precision}"
        with locked(incoming.parent / f"{incoming.name}.lock"):
            incoming.mkdir(parents=True, exist_ok=True)
            (incoming / owner_mark(model)).touch()
            wanted = source.files()
            present = self._find(wanted, model=model)
            if present is not None:
                log.info("weights are there already", extra={"digest": present.digest})
                (check or _unchecked)(present.folder, complete=True)
                return present
            digests = _fetch_all(wanted, source=source, folder=incoming, check=check or _unchecked)
            return self._move(model=model, incoming=incoming, digests=digests)

    def _find(self, wanted: tuple[Expected, ...], *, model: str) -> Stored | None:
        """What is stored for this model already, if every digest is known beforehand."""
        digests = {stored_name(file.name): file.sha256 for file in wanted if file.sha256 is not None}
        if len(digests) != len(wanted):
            return None
        stored = self._stored(digests)
        return stored if model in owners(stored.folder) and _intact(stored) else None

    def _move(self, *, model: str, incoming: Path, digests: dict[str, str]) -> Stored:
        stored = self._stored(digests)
        with folder_lock(self._root, stored.folder):
            stored.folder.mkdir(exist_ok=True)
            (stored.folder / owner_mark(model)).touch()
            if _intact(stored):
                # Another model has the same bytes, which may be in use: they stay as they are.
                for name in digests:
                    (incoming / name).unlink()
                return stored
            for name in digests:
                (incoming / name).chmod(0o444)
                (incoming / name).replace(stored.folder / name)
            write_durably(stored.folder / MARK, json.dumps(_marks(stored)).encode())
            _sync_folder(self._root)
        return stored

    def _stored(self, digests: dict[str, str]) -> Stored:
        digest = checkpoint_digest(digests)
        return Stored(digest=digest, folder=self._root / digest, files=digests)


def folder_lock(root: Path, folder: Path) -> AbstractContextManager[None]:
    """Held by whoever changes what lies in a folder, or whose it is."""
    return locked(root / INCOMING / f"{folder.name}.lock")


def stored_name(name: str) -> str:
    """Under which name a checkpoint's file is stored: that of our notice is never the checkpoint's own."""
    return f"{NOTICE}.of-checkpoint" if name == NOTICE else name


def owner_mark(model: str) -> str:
    """Name of the file by which a folder is a model's: the same bytes may be several models'. It holds the model's
    part of the notice."""
    return f"{OWNER}{model}"


def owners(folder: Path) -> set[str]:
    """Models whose folder this is."""
    return {path.name.removeprefix(OWNER) for path in folder.glob(f"{OWNER}*")}


def checkpoint_digest(digests: dict[str, str]) -> str:
    """The digest under which a checkpoint lies (see the module)."""
    if len(digests) == 1:
        return next(iter(digests.values()))
    lines = "".join(f"{digests[name]}  {name}\n" for name in sorted(digests))
    return hashlib.sha256(lines.encode()).hexdigest()


def _unchecked(folder: Path, *, complete: bool) -> None:
    """Files that nothing is known of beside their digests."""


def _fetch_all(wanted: tuple[Expected, ...], *, source: Source, folder: Path, check: Check) -> dict[str, str]:
    """Fetch every file and look at the whole; gives each one's hex SHA-256 by the name under which it is stored."""
    names = {stored_name(file.name) for file in wanted}
    if len(names) != len(wanted):
        raise WeightsError(f"two files of the checkpoint would have one name of {', '.join(sorted(names))}: rename one")
    # A configuration that does not fit is found before the weights are fetched.
    first = sorted(wanted, key=lambda file: file.name != CONFIGURATION)
    digests: dict[str, str] = {}
    try:
        for file in first:
            digests[stored_name(file.name)] = _fetch(file=file, source=source, folder=folder)
            if file.name == CONFIGURATION:
                check(folder, complete=False)
        check(folder, complete=True)
    except WeightsMismatchError:
        # These are another model's bytes: they are not kept where nobody accepted its license.
        for name in digests:
            (folder / name).unlink()
        raise
    return digests


def _fetch(*, file: Expected, source: Source, folder: Path) -> str:
    """Fetch one file into `folder`, going on where an earlier try stopped; gives its hex SHA-256."""
    if Path(file.name).name != file.name or file.name.startswith("."):
        raise WeightsError(f"{file.name!r} is not a plain file name: the catalogue entry is wrong")
    name = stored_name(file.name)
    target, part = folder / name, folder / f"{name}.part"
    if target.is_file():
        # Complete, by an earlier try that was interrupted at another file; it is verified again.
        target.replace(part)
    digest = _Digest(file)
    with part.open("ab+") as handle:
        handle.seek(0)
        for chunk in iter(lambda: handle.read(CHUNK), b""):
            digest.update(chunk)
        if file.bytes is None or digest.size < file.bytes:
            _append(handle=handle, digest=digest, file=file, source=source)
        handle.flush()
        os.fsync(handle.fileno())
    try:
        sha256 = digest.check()
    except WeightsError:
        part.unlink()
        raise
    part.replace(target)
    log.info("file verified", extra={"file": file.name, "sha256": sha256, "bytes": digest.size})
    return sha256


def _append(*, handle: BinaryIO, digest: "_Digest", file: Expected, source: Source) -> None:
    told = time.monotonic()
    with source.read(file, offset=digest.size) as chunks:
        for chunk in chunks:
            handle.write(chunk)
            digest.update(chunk)
            if file.bytes is not None and digest.size > file.bytes:
                return
            if time.monotonic() - told >= _PROGRESS_SECONDS:
                told = time.monotonic()
                log.info("fetching", extra={"file": file.name, "done": digest.size, "of": file.bytes})


class _Digest:
    """SHA-256 and, where the publisher gives only that, Git's blob id, of what passes through."""

    def __init__(self, file: Expected) -> None:
        self._file = file
        self._sha256 = hashlib.sha256()
        self._blob = None if file.git_oid is None or file.bytes is None else _blob_hash(file.bytes)
        self.size = 0

    def update(self, chunk: bytes) -> None:
        self.size += len(chunk)
        self._sha256.update(chunk)
        if self._blob is not None:
            self._blob.update(chunk)

    def check(self) -> str:
        """The hex SHA-256. Raises WeightsError if size or digest is not the expected one."""
        file, sha256 = self._file, self._sha256.hexdigest()
        if file.bytes is not None and self.size != file.bytes:
            raise WeightsError(f"{file.name} has {self.size} bytes instead of {file.bytes}; run the Job again")
        if file.sha256 is not None and sha256 != file.sha256:
            raise WeightsError(
                f"{file.name} has SHA-256 {sha256} instead of {file.sha256}: it was removed. Run the Job again; if it "
                "comes out the same, the source does not hold the file that the catalogue names"
            )
        if file.sha256 is None and self._blob is not None and self._blob.hexdigest() != file.git_oid:
            raise WeightsError(f"{file.name} is not the blob {file.git_oid}: it was removed; run the Job again")
        return sha256


def _blob_hash(size: int) -> "hashlib._Hash":
    return hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)


def _intact(stored: Stored) -> bool:
    """True if the files are there as they were verified."""
    mark = stored.folder / MARK
    return mark.is_file() and bool(json.loads(mark.read_bytes()) == _marks(stored))


def _marks(stored: Stored) -> dict[str, list[object]]:
    """What is written beside verified files: a file of another size or time is verified again."""
    marks: dict[str, list[object]] = {}
    for name, sha256 in stored.files.items():
        path = stored.folder / name
        marks[name] = [sha256, path.stat().st_size, path.stat().st_mtime_ns] if path.is_file() else [sha256, -1, -1]
    return marks


def write_durably(path: Path, data: bytes) -> None:
    """Replace a file: whoever looks, also after a crash, finds the old or the new content."""
    # Its name begins otherwise: a draft of an owner's mark is no mark.
    draft = path.with_name(f".draft-{path.name}")
    with draft.open("wb") as handle:
        handle.write(data)
        handle.flush()
        os.fsync(handle.fileno())
    draft.replace(path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file, as long as nobody else does; it stays behind, empty."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
