"""A source on this machine: files that already lie in a folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from paddock_serving.errors import WeightsError
from paddock_serving.weights.sources.base import CHUNK, Expected


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """The files of `root`: those `listed`, or every one that lies there."""

    root: Path
    listed: tuple[Expected, ...]
    advice: str
    """What to do if something is missing."""

    def files(self) -> tuple[Expected, ...]:
        """The listed files, else what is there. Raises WeightsError if there is nothing."""
        if self.listed:
            return self.listed
        found = sorted(path for path in self.root.glob("*") if path.is_file()) if self.root.is_dir() else []
        if not found:
            raise WeightsError(f"{self.root} holds no files: {self.advice}")
        return tuple(Expected(name=path.name, bytes=path.stat().st_size) for path in found)

    @contextmanager
    def read(self, file: Expected, *, offset: int) -> Iterator[Iterator[bytes]]:
        """The file's bytes from an offset."""
        path = self.root / file.name
        if not path.is_file():
            raise WeightsError(f"{path} is missing: {self.advice}")
        with path.open("rb") as handle:
            handle.seek(offset)
            yield iter(lambda: handle.read(CHUNK), b"")
