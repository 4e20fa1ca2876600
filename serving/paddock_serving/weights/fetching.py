"""Files from a source into a folder: side by side, going on where an earlier try stopped, each held to its digest."""

import errno
import hashlib
import logging
import os
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from paddock_serving.errors import WeightsChecksumMismatchError, WeightsError, WeightsVolumeFullError
from paddock_serving.weights.layout import plain_name, stored_name
from paddock_serving.weights.progress import Progress
from paddock_serving.weights.sources.base import CHUNK, Expected, Source

log = logging.getLogger(__name__)

_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_GIB: Final = 2**30
_MEND: Final = "enlarge it, or end what is stored there and no longer needed"


class StoppedError(WeightsError):
    """Another file of the same checkpoint failed; that error is the one that is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetch:
    """One try at a checkpoint."""

    source: Source
    folder: Path
    progress: Progress
    connections: int = 1

    def all(self, files: tuple[Expected, ...]) -> dict[str, str]:
        """Fetch files; gives each one's hex SHA-256 by the name under which it is stored.

        Raises WeightsError for the first that fails; what is there of the others stays for the next try.
        """
        stop = threading.Event()
        with ThreadPoolExecutor(max_workers=self.connections, thread_name_prefix="fetch") as pool:
            running = {file: pool.submit(self._one, file, stop) for file in files}
            try:
                wait(running.values(), return_when=FIRST_EXCEPTION)
            finally:
                stop.set()
        failed = [error for future in running.values() if (error := future.exception()) is not None]
        if failed:
            raise min(failed, key=lambda error: isinstance(error, StoppedError))
        return {stored_name(file.name): future.result() for file, future in running.items()}

    def room(self, files: tuple[Expected, ...]) -> None:
        """Raises WeightsVolumeFullError if what is missing of the files does not fit."""
        missing = sum(max((file.bytes or 0) - self._there(file), 0) for file in files)
        free = shutil.disk_usage(self.folder).free
        if missing > free:
            raise WeightsVolumeFullError(
                f"{missing} more bytes are needed ({missing / _GIB:.1f} GiB), and {free} are free on the weights "
                f"volume: {_MEND}"
            )

    def _there(self, file: Expected) -> int:
        name = stored_name(file.name)
        return sum(_size(self.folder / present) for present in (name, f"{name}.part"))

    def _one(self, file: Expected, stop: threading.Event) -> str:
        if stop.is_set():
            raise StoppedError(f"{file.name}: another file failed")
        try:
            return self._twice(file, stop)
        except BaseException:
            # Here, not where it is waited for: the next file would have begun by then.
            stop.set()
            raise

    def _twice(self, file: Expected, stop: threading.Event) -> str:
        """What is not the file that was named is fetched once more."""
        try:
            return self._try(file, stop)
        except WeightsChecksumMismatchError as error:
            log.warning("fetched once more", extra={"file": file.name, "error": str(error)})
            return self._try(file, stop)

    def _try(self, file: Expected, stop: threading.Event) -> str:
        """Fetch one file into the folder; gives its hex SHA-256."""
        name = stored_name(plain_name(file.name))
        target, part = self.folder / name, self.folder / f"{name}.part"
        if target.is_file():
            # Complete, by an earlier try that was interrupted at another file; it is verified again.
            target.replace(part)
        if not file.digested:
            # Nothing would show that a part, after a crash of its node, is not what was written.
            part.unlink(missing_ok=True)
        digest = _Digest(file)
        with self._room_for(file), part.open("ab+") as handle:
            handle.seek(0)
            for chunk in iter(lambda: handle.read(CHUNK), b""):
                digest.update(chunk)
                self._count(file, digest, stop)
            if file.bytes is None or digest.size < file.bytes:
                self._append(handle=handle, digest=digest, file=file, stop=stop)
            handle.flush()
            os.fsync(handle.fileno())
        try:
            sha256 = digest.check()
        except WeightsError:
            part.unlink()
            self.progress.at(file, done=0)
            raise
        part.replace(target)
        log.info("file verified", extra={"file": file.name, "sha256": sha256, "bytes": digest.size})
        return sha256

    def _append(self, *, handle: BinaryIO, digest: "_Digest", file: Expected, stop: threading.Event) -> None:
        with self.source.read(file, offset=digest.size) as chunks:
            for chunk in chunks:
                handle.write(chunk)
                digest.update(chunk)
                self._count(file, digest, stop, fetched=len(chunk))
                if file.bytes is not None and digest.size > file.bytes:
                    return

    def _count(self, file: Expected, digest: "_Digest", stop: threading.Event, *, fetched: int = 0) -> None:
        self.progress.at(file, done=digest.size, fetched=fetched)
        if stop.is_set():
            raise StoppedError(f"{file.name}: another file failed")

    @contextmanager
    def _room_for(self, file: Expected) -> Iterator[None]:
        """Turns the end of the volume into words."""
        try:
            yield
        except OSError as error:
            if error.errno not in _FULL:
                raise
            state = self.progress.document()
            left = (state["bytesTotal"] or 0) - (state["bytesDone"] or 0)
            raise WeightsVolumeFullError(
                f"{file.name}: the weights volume is full ({error.strerror}), and {left} more bytes are needed "
                f"({left / _GIB:.1f} GiB): {_MEND}"
            ) from error


class _Digest:
    """SHA-256 and, where the publisher gives only that, Git's blob id, of what passes through."""

    def __init__(self, file: Expected) -> None:
        self._file = file
        self._sha256 = hashlib.sha256()
        self._blob = None if file.git_oid is None or file.bytes is None else blob_hash(file.bytes)
        self.size = 0

    def update(self, chunk: bytes) -> None:
        self.size += len(chunk)
        self._sha256.update(chunk)
        if self._blob is not None:
            self._blob.update(chunk)

    def check(self) -> str:
        """The hex SHA-256. Raises WeightsChecksumMismatchError if size or digest is not the expected one."""
        file, sha256 = self._file, self._sha256.hexdigest()
        wrong = ""
        if file.bytes is not None and self.size != file.bytes:
            wrong = f"has {self.size} bytes instead of {file.bytes}"
        elif file.sha256 is not None and sha256 != file.sha256:
            wrong = f"has SHA-256 {sha256} instead of {file.sha256}"
        elif file.sha256 is None and self._blob is not None and self._blob.hexdigest() != file.git_oid:
            wrong = f"is not the blob {file.git_oid}"
        if wrong:
            raise WeightsChecksumMismatchError(
                f"{file.name} {wrong}: it was removed. If it comes out the same again, the source does not hold the "
                "file that is named: mend the source, or the list of files"
            )
        return sha256


def blob_hash(size: int) -> "hashlib._Hash":
    """What a Git blob of so many bytes is digested with, its header already in."""
    return hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
