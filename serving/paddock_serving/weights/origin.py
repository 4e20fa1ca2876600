"""Whether bytes that lie on the volume are those that a place would give: then they need not come over the line again.

Who names a digest alone gets nothing. Shared is what came from the very place that is named, with the credentials that
are at hand, or with none; and each file must be provably the one that the place has now: by its SHA-256, its Git blob
id, or the tag under which it was fetched.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from paddock_serving.weights.fetching import blob_hash
from paddock_serving.weights.layout import ORIGIN, Stored, stored_name, verified, write_durably
from paddock_serving.weights.sources.base import CHUNK, Expected, Source

_MOST_BLOB: Final = 256 * 2**20
"""Bytes of a file that is read again for its Git blob id; publishers give large files a SHA-256."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """A place and what it has."""

    place: str
    access: str
    files: tuple[Expected, ...]

    @property
    def key(self) -> str:
        """Names the place."""
        return _digest(self.place)

    @property
    def incoming(self) -> str:
        """Name of the folder for what is being fetched: that of another list, of files that changed, or of what is read
        with other credentials, is another."""
        listed = sorted((file.name, file.tag or "") for file in self.files)
        return _digest(self.place, self.access, json.dumps(listed))

    @property
    def facts(self) -> str:
        """Names everything that is known of the files, if that says which bytes they have; else empty."""
        if not all(file.digested or file.tag for file in self.files):
            return ""
        known = sorted((file.name, file.bytes, file.sha256, file.git_oid, file.tag) for file in self.files)
        return _digest(self.place, json.dumps(known))

    def note(self, folder: Path) -> None:
        """Write down that the bytes of a folder came from here, and who may read here."""
        path = folder / f"{ORIGIN}{self.key}"
        access = sorted({*_read(path).get("access", ()), self.access})
        tags = {stored_name(file.name): file.tag for file in self.files if file.tag is not None}
        document = json.dumps({"access": access, "tags": tags}).encode()
        if not path.is_file() or path.read_bytes() != document:
            write_durably(path, document)

    def find(self, root: Path, *, owned: str) -> Stored | None:
        """What lies on the volume and is what the place has. The owner mark `owned` lets a model have it without the
        credentials that it was fetched with: they may have changed since."""
        for mark in sorted(root.glob(f"*/{ORIGIN}{self.key}")):
            folder, note = mark.parent, _read(mark)
            if not (folder / owned).is_file() and not {"", self.access} & {*note.get("access", ())}:
                continue
            found = verified(folder) or {}
            digests = {name: str(facts[0]) for name, facts in found.items()}
            if set(digests) == {stored_name(file.name) for file in self.files} and all(
                _same(file, folder, digests, note.get("tags", {})) for file in self.files
            ):
                return Stored(digest=folder.name, folder=folder, files=digests)
        return None


def origin_of(source: Source) -> Origin:
    """What a source has. Raises WeightsError if that cannot be told."""
    files = source.files()
    return Origin(place=source.place(), access=source.access(), files=files)


def _same(file: Expected, folder: Path, digests: dict[str, str], tags: dict[str, str]) -> bool:
    name = stored_name(file.name)
    if file.sha256 is not None:
        return digests[name] == file.sha256
    if file.git_oid is not None:
        return _has_blob(folder / name, file)
    return file.tag is not None and tags.get(name) == file.tag


def _has_blob(path: Path, file: Expected) -> bool:
    try:
        size = path.stat().st_size
        if size > _MOST_BLOB or file.bytes not in (None, size):
            return False
        digest = blob_hash(size)
        with path.open("rb") as handle:
            for chunk in iter(lambda: handle.read(CHUNK), b""):
                digest.update(chunk)
    except OSError:
        return False
    return digest.hexdigest() == file.git_oid


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}
