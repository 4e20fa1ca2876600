"""What a source of weights is, and how one is found by its kind."""

import hashlib
import importlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, Protocol, cast

from paddock_core.catalog.sources import problem
from paddock_core.catalog.types import WeightSet

from paddock_serving.errors import WeightsError
from paddock_serving.settings import PrepareSettings

CHUNK: Final = 4 * 1024 * 1024
"""Bytes that are read, hashed and written at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """A file and what is known of it beforehand. One of the digests, if there is any, is checked."""

    name: str
    bytes: int | None = None
    sha256: str | None = None
    git_oid: str | None = None
    """Hex SHA-1 of the file as a Git blob, where the publisher names no SHA-256."""
    tag: str | None = None
    """What changes whenever the file does, where its place has such a thing: an entity tag, or the time of a change."""

    @property
    def digested(self) -> bool:
        """True where its content can be checked."""
        return self.sha256 is not None or self.git_oid is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What is wanted: a model's checkpoint in one precision."""

    model: str
    precision: str
    weights: WeightSet


class Source(Protocol):
    """A place that holds the files of a checkpoint."""

    def place(self) -> str:
        """Where that is, in full but without credentials: two models that name one place share what comes from it.
        Asked after `files`, which may find out more of it."""

    def access(self) -> str:
        """Who may read there: empty for everybody, else a digest of the credentials."""

    def files(self) -> tuple[Expected, ...]:
        """Every file that belongs to the checkpoint. Raises WeightsError if that cannot be told."""

    def read(self, file: Expected, *, offset: int) -> AbstractContextManager[Iterator[bytes]]:
        """The file's bytes from an offset. Raises WeightsError if it cannot be read."""

    def close(self) -> None:
        """Let go of connections."""


def open_source(*, checkpoint: Checkpoint, settings: PrepareSettings) -> Source:
    """The source that the catalogue names. Raises WeightsError for a kind that this version does not have, or one
    that is not told what it needs."""
    lacking = problem(checkpoint.weights.source)
    if lacking is not None:
        raise WeightsError(f"model {checkpoint.model}: {lacking}")
    module = importlib.import_module(f"paddock_serving.weights.sources.{checkpoint.weights.source['kind']}")
    return cast("Source", module.open_source(checkpoint=checkpoint, settings=settings))


def catalogued(checkpoint: Checkpoint) -> tuple[Expected, ...]:
    """The files that the catalogue lists, with its digests."""
    return tuple(Expected(name=file.name, bytes=file.bytes, sha256=file.sha256) for file in checkpoint.weights.files)


def pinned(files: tuple[Expected, ...]) -> bool:
    """True if all that must be known of the files is known, so that their place need not be asked for a list."""
    return bool(files) and all(file.sha256 is not None for file in files)


def credentials_digest(*parts: str) -> str:
    """Tells apart who may read somewhere, without telling what with; empty for no credentials."""
    if not any(parts):
        return ""
    return hashlib.sha256("\0".join(("paddock-source", *parts)).encode()).hexdigest()[:32]
