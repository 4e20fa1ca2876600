"""What lies where on the weights volume, and how it is changed: names, marks, locks, durable writes.

`<root>/<digest>/` holds a checkpoint, complete and verified; `<root>/.incoming/<place>/` what is being fetched from a
place. A hidden file of the folder each says whose it is (`.of-<model>`), from where the bytes came (`.from-<place>`),
and which were verified (`.verified.json`).
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from paddock_serving.errors import WeightsError

MARK: Final = ".verified.json"
INCOMING: Final = ".incoming"
OWNER: Final = ".of-"
ORIGIN: Final = ".from-"
NOTICE: Final = "Notice"
CONFIGURATION: Final = "config.json"


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


def plain_name(name: str) -> str:
    """The name, if it is one. Raises WeightsError for one that leads elsewhere or hides."""
    if Path(name).name != name or name.startswith(".") or "\0" in name:
        raise WeightsError(f"{name!r} is not a plain file name: mend the list of files, or the source")
    return name


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
    """The digest under which a checkpoint lies: of one file that file's own, else that of the lines
    `<sha256>  <name>`, sorted by name."""
    if len(digests) == 1:
        return next(iter(digests.values()))
    lines = "".join(f"{digests[name]}  {name}\n" for name in sorted(digests))
    return hashlib.sha256(lines.encode()).hexdigest()


def intact(stored: Stored) -> bool:
    """True if the files are there as they were verified."""
    return verified(stored.folder) == marks(stored)


def marks(stored: Stored) -> dict[str, list[object]]:
    """What is written beside verified files: a file of another size or time is verified again."""
    found: dict[str, list[object]] = {}
    for name, sha256 in stored.files.items():
        path = stored.folder / name
        found[name] = [sha256, path.stat().st_size, path.stat().st_mtime_ns] if path.is_file() else [sha256, -1, -1]
    return found


def verified(folder: Path) -> dict[str, list[object]] | None:
    """What was verified in a folder; None where that is not written there."""
    try:
        document: dict[str, list[object]] = json.loads((folder / MARK).read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return document


def folder_lock(root: Path, folder: Path) -> AbstractContextManager[None]:
    """Held, for a moment, by whoever changes what lies in a folder, or whose it is."""
    return locked(root / INCOMING / f"{folder.name}.lock")


def fetch_lock(root: Path, folder: Path) -> AbstractContextManager[None]:
    """Held by the one who fetches into a folder, as long as that takes. Taken before the folder's own lock."""
    return locked(root / INCOMING / f"{folder.name}.fetch.lock")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file, as long as nobody else does; it stays behind, empty."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def write_durably(path: Path, data: bytes) -> None:
    """Replace a file: whoever looks, also after a crash, finds the old or the new content."""
    # Its name begins otherwise: a draft of an owner's mark is no mark.
    draft = path.with_name(f".draft-{path.name}")
    with draft.open("wb") as handle:
        handle.write(data)
        handle.flush()
        os.fsync(handle.fileno())
    draft.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make what was created, renamed or removed in a folder last."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
