"""A repository on the Hugging Face hub (or a mirror that speaks the same HTTP API), at one commit.

`GET /api/models/<repository>/revision/<revision>?blobs=true` lists the files with their digests: SHA-256 for large
files, the Git blob id for small ones. Files are read at the commit that this answer names, by range requests where
an earlier try has left a part.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import httpx

from paddock_serving.errors import WeightsError
from paddock_serving.settings import PrepareSettings
from paddock_serving.weights.sources.base import CHUNK, Checkpoint, Expected, Source, catalogued

_SUFFIXES: Final = (".safetensors", ".json", ".jinja", ".model")
_TIMEOUT: Final = httpx.Timeout(30.0, read=120.0)


class Hub:
    """A Source over HTTPS. The token is sent to the hub alone, never to where it redirects."""

    def __init__(self, *, checkpoint: Checkpoint, settings: PrepareSettings, client: httpx.Client) -> None:
        self._checkpoint = checkpoint
        self._repository = checkpoint.weights.source["repository"]
        self._commit = checkpoint.weights.revision
        token = settings.hub_token
        headers = {} if token is None else {"Authorization": f"Bearer {token.get_secret_value()}"}
        self._base = settings.hub_url.rstrip("/")
        self._headers = headers
        self._client = client

    def files(self) -> tuple[Expected, ...]:
        """The catalogue's list, else the repository's own at the commit that it names."""
        listed = catalogued(self._checkpoint)
        if listed and all(file.sha256 for file in listed) and self._commit:
            return listed
        document = self._get_json(f"/api/models/{self._repository}/revision/{self._commit or 'main'}?blobs=true")
        self._commit = str(document["sha"])
        return tuple(_expected(entry) for entry in document["siblings"] if _wanted(entry["rfilename"]))

    @contextmanager
    def read(self, file: Expected, *, offset: int) -> Iterator[Iterator[bytes]]:
        """Read from an offset, by a range request."""
        url = f"{self._base}/{self._repository}/resolve/{self._commit or 'main'}/{file.name}"
        headers = self._headers | {"Accept-Encoding": "identity"} | ({"Range": f"bytes={offset}-"} if offset else {})
        try:
            with self._client.stream("GET", url, headers=headers) as response:
                self._check(response)
                if offset and response.status_code != httpx.codes.PARTIAL_CONTENT:
                    raise WeightsError(f"{file.name}: the hub does not resume; remove the partial file and start again")
                yield response.iter_bytes(CHUNK)
        except httpx.HTTPError as error:
            raise WeightsError(
                f"{file.name}: connection to {self._base} broke: {error}; it resumes when run again"
            ) from error

    def _get_json(self, path: str) -> Any:
        try:
            response = self._client.get(self._base + path, headers=self._headers)
        except httpx.HTTPError as error:
            raise WeightsError(f"{self._base} does not answer: {error}") from error
        self._check(response)
        return response.json()

    def _check(self, response: httpx.Response) -> None:
        if response.is_success:
            return
        if response.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            raise WeightsError(
                f"{self._repository} is gated ({response.status_code}): its publisher must have granted access to the "
                "account whose token stands in HF_TOKEN"
            )
        raise WeightsError(f"{self._repository}: {self._base} answered {response.status_code} for {response.url.path}")


def _wanted(name: str) -> bool:
    return "/" not in name and name.endswith(_SUFFIXES)


def _expected(entry: dict[str, Any]) -> Expected:
    large = entry.get("lfs") or {}
    expected = Expected(
        name=entry["rfilename"], bytes=entry.get("size"), sha256=large.get("sha256"), git_oid=entry.get("blobId")
    )
    if expected.sha256 is None and expected.git_oid is None:
        raise WeightsError(f"{expected.name}: the hub names no digest for it, so it cannot be verified")
    return expected


def open_source(*, checkpoint: Checkpoint, settings: PrepareSettings) -> Source:
    """The repository that the catalogue names."""
    client = httpx.Client(timeout=_TIMEOUT, follow_redirects=True)
    return Hub(checkpoint=checkpoint, settings=settings, client=client)
