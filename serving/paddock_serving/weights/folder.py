"""A source on this machine: files that already lie in a folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from paddock_serving.errors import WeightsError
from paddock_serving.weights.sources.base import CHUNK, Expected
from paddock_serving.weights.sums import SUMS, parse_sums, with_sums


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """The files of `root`: those `listed`, or every one that lies there, with the digests of its SHA256SUMS if it has
    them."""

    root: Path
    origin: str
    """What the place is called."""
    listed: tuple[Expected, ...]
    advice: str
    """What to do if something is missing."""

    def place(self) -> str:
        """What the place is called."""
        return self.origin

    def access(self) -> str:
        """Whoever may fetch from there at all may read it."""
        return ""

    def files(self) -> tuple[Expected, ...]:
        """The listed files, else what is there. Raises WeightsError if there is nothing."""
        if self.listed:
            return self.listed
        found = sorted(path for path in self.root.glob("*") if _counts(path)) if self.root.is_dir() else []
        if not found:
            raise WeightsError(f"{self.root} holds no files: {self.advice}")
        files = tuple(_expected(path) for path in found)
        sums = self.root / SUMS
        if not sums.is_file():
            return files
        return with_sums(files, parse_sums(sums.read_text(encoding="utf-8"), place=self.origin), place=self.origin)

    @contextmanager
    def read(self, file: Expected, *, offset: int) -> Iterator[Iterator[bytes]]:
        """The file's bytes from an offset."""
        path = self.root / file.name
        if not path.is_file():
            raise WeightsError(f"{path} is missing: {self.advice}")
        with path.open("rb") as handle:
            handle.seek(offset)
            yield iter(lambda: handle.read(CHUNK), b"")

    def close(self) -> None:
        """Nothing is held."""


def _counts(path: Path) -> bool:
    return path.is_file() and path.name != SUMS and not path.name.startswith(".")


def _expected(path: Path) -> Expected:
    state = path.stat()
    return Expected(name=path.name, bytes=state.st_size, tag=f"{state.st_size}-{state.st_mtime_ns}")
