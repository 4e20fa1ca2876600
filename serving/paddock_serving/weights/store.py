"""The weights volume: `<root>/<digest>/<file name>`, each file complete and verified before it has that name.

What is being fetched lies in `<root>/.incoming/`, in a folder for each place, whichever models wait for it; an
interrupted fetch goes on there. The bytes of a place are fetched once, and are each model's that names the place.
"""

import json
import logging
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from paddock_serving.errors import WeightsError, WeightsMismatchError
from paddock_serving.weights.fetching import Fetch
from paddock_serving.weights.layout import (
    CONFIGURATION,
    INCOMING,
    MARK,
    Stored,
    checkpoint_digest,
    fetch_lock,
    folder_lock,
    intact,
    marks,
    owner_mark,
    owners,
    stored_name,
    sync_folder,
    write_durably,
)
from paddock_serving.weights.origin import Origin, origin_of
from paddock_serving.weights.progress import Progress
from paddock_serving.weights.sources.base import Checkpoint, Source

log = logging.getLogger(__name__)

_STALE_SECONDS: Final = 14 * 86400.0
"""What nobody has touched for so long, of a download or of a refusal, is forgotten."""


class Check(Protocol):
    """Looks at a folder of fetched files."""

    def __call__(self, folder: Path, *, complete: bool) -> None:
        """Raises WeightsMismatchError if they are not what is wanted; `complete` where all of them are there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """What the files are to be: `check` looks at them, `name` says what it compares them with."""

    check: Check
    name: str


def _unchecked(folder: Path, *, complete: bool) -> None:
    """Files that nothing is known of beside their digests."""


UNCHECKED: Final = Want(check=_unchecked, name="")


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """The volume. One writer a place at a time: a second one waits, and finds the work done."""

    root: Path
    progress: Progress = field(default_factory=Progress)
    connections: int = 1
    """How many files are fetched side by side."""

    def obtain(self, *, checkpoint: Checkpoint, source: Source, want: Want = UNCHECKED) -> Stored:
        """Give the checkpoint, fetching what is missing.

        What lies there from another place is fetched all the same: who names a digest must bring its bytes.
        `want` looks at the folder of what was fetched before it gets its place, and at what lies there already.

        Raises WeightsError if a file is not the one expected, and what `want` raises, at once if it did so before.
        """
        origin, model = origin_of(source), checkpoint.model
        _distinct(origin)
        self.progress.expect(origin.files)
        refusal = self._refusal(origin, want)
        if refusal is not None and refusal.is_file():
            raise WeightsMismatchError(refusal.read_text(encoding="utf-8"))
        incoming = self.root / INCOMING / origin.incoming
        with folder_lock(self.root, incoming):
            incoming.mkdir(parents=True, exist_ok=True)
            (incoming / owner_mark(model)).touch()
        with fetch_lock(self.root, incoming):
            try:
                stored = self._there(origin, model=model, want=want)
                if stored is None:
                    stored = self._fetch(origin, source=source, incoming=incoming, want=want, model=model)
            except WeightsMismatchError as error:
                # These are another model's bytes: they are not kept where nobody accepted its license.
                self._leave(incoming, model)
                if refusal is not None:
                    write_durably(refusal, str(error).encode())
                raise
            self._leave(incoming, model)
        self.progress.complete()
        self._tidy()
        return stored

    def _there(self, origin: Origin, *, model: str, want: Want) -> Stored | None:
        """What is stored for this model already, or came from the same place for another one."""
        stored = self._own(origin, model) or origin.find(self.root, owned=owner_mark(model))
        if stored is None:
            return None
        with folder_lock(self.root, stored.folder):
            # A purge may have been quicker.
            if not intact(stored):
                return None
            want.check(stored.folder, complete=True)
            (stored.folder / owner_mark(model)).touch()
            origin.note(stored.folder)
        log.info("weights are there already", extra={"digest": stored.digest})
        return stored

    def _own(self, origin: Origin, model: str) -> Stored | None:
        """What is stored for this model, from wherever, if every digest is known beforehand."""
        digests = {stored_name(file.name): file.sha256 for file in origin.files if file.sha256 is not None}
        if not digests or len(digests) != len(origin.files):
            return None
        stored = self._stored(digests)
        return stored if model in owners(stored.folder) and intact(stored) else None

    def _fetch(self, origin: Origin, *, source: Source, incoming: Path, want: Want, model: str) -> Stored:
        fetch = Fetch(source=source, folder=incoming, progress=self.progress, connections=self.connections)
        fetch.room(origin.files)
        # A configuration that does not fit is found before the weights are fetched.
        first = tuple(file for file in origin.files if file.name == CONFIGURATION)
        digests = fetch.all(first) if first else {}
        if first:
            want.check(incoming, complete=False)
        digests |= fetch.all(tuple(file for file in origin.files if file.name != CONFIGURATION))
        want.check(incoming, complete=True)
        return self._move(origin, model=model, incoming=incoming, digests=digests)

    def _move(self, origin: Origin, *, model: str, incoming: Path, digests: dict[str, str]) -> Stored:
        stored = self._stored(digests)
        with folder_lock(self.root, stored.folder):
            stored.folder.mkdir(exist_ok=True)
            (stored.folder / owner_mark(model)).touch()
            if intact(stored):
                # Another model has the same bytes, which may be in use: they stay as they are.
                for name in digests:
                    (incoming / name).unlink()
            else:
                for name in digests:
                    # Sealed only there: what is left behind by a process that is killed must be writable to go on with.
                    (incoming / name).replace(stored.folder / name)
                    (stored.folder / name).chmod(0o444)
                write_durably(stored.folder / MARK, json.dumps(marks(stored)).encode())
            origin.note(stored.folder)
            sync_folder(self.root)
        return stored

    def _leave(self, incoming: Path, model: str) -> None:
        """What was being fetched is this model's no longer; it goes, unless another one waits for it."""
        with folder_lock(self.root, incoming):
            (incoming / owner_mark(model)).unlink(missing_ok=True)
            if not owners(incoming):
                shutil.rmtree(incoming, ignore_errors=True)

    def _refusal(self, origin: Origin, want: Want) -> Path | None:
        """Where it is written down that these very files are not what is wanted."""
        if not want.name or not origin.facts:
            return None
        return self.root / INCOMING / f"{origin.facts}-{want.name}.refused"

    def _tidy(self) -> None:
        """Forget what was begun long ago, and what changed at its place since."""
        limit = time.time() - _STALE_SECONDS
        for path in (self.root / INCOMING).glob("*"):
            if path.suffix == ".refused" and _newest(path) < limit:
                path.unlink(missing_ok=True)
            elif path.is_dir() and _newest(path) < limit:
                with fetch_lock(self.root, path), folder_lock(self.root, path):
                    if _newest(path) < limit:
                        shutil.rmtree(path, ignore_errors=True)

    def _stored(self, digests: dict[str, str]) -> Stored:
        digest = checkpoint_digest(digests)
        return Stored(digest=digest, folder=self.root / digest, files=digests)


def _distinct(origin: Origin) -> None:
    names = {stored_name(file.name) for file in origin.files}
    if len(names) != len(origin.files):
        raise WeightsError(f"two files of the checkpoint would have one name of {', '.join(sorted(names))}: rename one")


def _newest(path: Path) -> float:
    """When a file, or anything in a folder, changed last, in Unix seconds; now where it is going."""
    try:
        inside = path.iterdir() if path.is_dir() else ()
        times: list[float] = [item.stat().st_mtime for item in (path, *inside)]
    except FileNotFoundError:
        return time.time()
    return max(times)
