"""A repository on the Hugging Face hub (or a mirror that speaks the same HTTP API), at one commit.

`GET /api/models/<repository>/revision/<revision>?blobs=true` lists the files with their digests: SHA-256 for large
files, the Git blob id for small ones. Files are read at the commit that this answer names, by range requests where
an earlier try has left a part.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import quote

from paddock_core.catalog.sources import with_scheme

from paddock_serving.errors import WeightsError
from paddock_serving.settings import PrepareSettings
from paddock_serving.weights.sources.base import (
    Checkpoint,
    Expected,
    Source,
    catalogued,
    credentials_digest,
    pinned,
)
from paddock_serving.weights.web import Web, new_client

_SUFFIXES: Final = (".safetensors", ".json", ".jinja", ".model")


class Hub:
    """A Source over HTTPS."""

    def __init__(self, *, checkpoint: Checkpoint, base: str, access: str, web: Web) -> None:
        self._checkpoint = checkpoint
        self._repository = checkpoint.weights.source["repository"]
        self._commit = checkpoint.weights.revision
        self._base = base
        self._access = access
        self._web = web

    def place(self) -> str:
        """The repository at its commit. A mirror has the same bytes, and is another place all the same."""
        return f"huggingface:{self._base}/{self._repository}@{self._commit or 'main'}"

    def access(self) -> str:
        """A digest of the token, if there is one."""
        return self._access

    def files(self) -> tuple[Expected, ...]:
        """The catalogue's list, else the repository's own at the commit that it names."""
        listed = catalogued(self._checkpoint)
        if pinned(listed) and self._commit:
            return listed
        path = f"/api/models/{self._repository}/revision/{quote(self._commit or 'main', safe='')}"
        try:
            document = self._web.get(f"{self._base}{path}?blobs=true").json()
            self._commit = str(document["sha"])
            entries = {str(entry["rfilename"]): entry for entry in document["siblings"]}
        except (ValueError, KeyError, TypeError) as error:
            raise WeightsError(
                f"{self._base}{path} answered no list of files ({error!r}): is it a model hub?"
            ) from error
        if not listed:
            return tuple(_expected(entry) for name, entry in entries.items() if _wanted(name))
        absent = [file.name for file in listed if file.name not in entries]
        if absent:
            raise WeightsError(
                f"{self._repository} at {self._commit} has no {', '.join(absent)}: mend the list of files"
            )
        return tuple(file if file.sha256 else _expected(entries[file.name]) for file in listed)

    @contextmanager
    def read(self, file: Expected, *, offset: int) -> Iterator[Iterator[bytes]]:
        """Read from an offset, by a range request."""
        commit = quote(self._commit or "main", safe="")
        url = f"{self._base}/{self._repository}/resolve/{commit}/{quote(file.name)}"
        with self._web.read(url, file, offset=offset) as chunks:
            yield chunks

    def close(self) -> None:
        """End its connections."""
        self._web.close()


def _wanted(name: str) -> bool:
    """What an engine and the tokenizer need. Pickles are not: they can run code."""
    return "/" not in name and name.endswith(_SUFFIXES)


def _expected(entry: dict[str, Any]) -> Expected:
    large = entry.get("lfs") or {}
    expected = Expected(
        name=entry["rfilename"], bytes=entry.get("size"), sha256=large.get("sha256"), git_oid=entry.get("blobId")
    )
    if not expected.digested:
        raise WeightsError(f"{expected.name}: the hub names no digest for it, so it cannot be verified")
    return expected


def open_source(*, checkpoint: Checkpoint, settings: PrepareSettings) -> Source:
    """The repository that the catalogue names, on the platform's hub, or on the one of the source's `endpoint`.

    The token is for the platform's hub alone: it is not sent to an endpoint that a source chose.
    """
    source = checkpoint.weights.source
    ours = settings.hub_url.rstrip("/")
    base = with_scheme(source["endpoint"]) if source.get("endpoint") else ours
    token = "" if settings.hub_token is None or base != ours else settings.hub_token.get_secret_value()
    refused = (
        f"{source['repository']} is gated: its publisher must have granted access to the account whose token stands in "
        "HF_TOKEN"
    )
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    web = Web(client=new_client(), place=f"{base}/{source['repository']}", refused=refused, headers=headers)
    return Hub(checkpoint=checkpoint, base=base, access=credentials_digest(token), web=web)
