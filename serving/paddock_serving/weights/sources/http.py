"""Files below one URL: `{kind: http, url: https://files.example.com/model}`. Which they are is listed in the catalogue
entry, or in a SHA256SUMS beside them."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

from paddock_core.catalog.sources import with_scheme

from paddock_serving.errors import WeightsError
from paddock_serving.settings import PrepareSettings
from paddock_serving.weights.sources.base import Checkpoint, Expected, Source, catalogued
from paddock_serving.weights.sums import SUMS, parse_sums
from paddock_serving.weights.web import Web, new_client


class Files:
    """A Source over plain HTTP, without credentials."""

    def __init__(self, *, url: str, listed: tuple[Expected, ...], web: Web) -> None:
        self._url = url
        self._listed = listed
        self._web = web

    def place(self) -> str:
        """The URL."""
        return f"http:{self._url}"

    def access(self) -> str:
        """Anybody may read there."""
        return ""

    def files(self) -> tuple[Expected, ...]:
        """The catalogue's list, else that of SHA256SUMS. Raises WeightsError if there is none."""
        if self._listed:
            return self._listed
        digests = parse_sums(self._web.get(f"{self._url}/{SUMS}").text, place=self._url)
        if not digests:
            raise WeightsError(f"{self._url}/{SUMS} names no files: write it with sha256sum")
        return tuple(Expected(name=name, sha256=digest) for name, digest in sorted(digests.items()))

    @contextmanager
    def read(self, file: Expected, *, offset: int) -> Iterator[Iterator[bytes]]:
        """Read from an offset, by a range request."""
        with self._web.read(f"{self._url}/{quote(file.name)}", file, offset=offset) as chunks:
            yield chunks

    def close(self) -> None:
        """End its connections."""
        self._web.close()


def open_source(*, checkpoint: Checkpoint, settings: PrepareSettings) -> Source:  # noqa: ARG001 - one signature for all
    """The URL that the catalogue names."""
    url = with_scheme(checkpoint.weights.source["url"])
    web = Web(client=new_client(), place=url, refused="files of this kind of source are open to everybody")
    return Files(url=url, listed=catalogued(checkpoint), web=web)
