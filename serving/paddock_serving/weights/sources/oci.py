"""An artifact in an OCI registry: `{kind: oci, repository: registry.example.com/models/llama}`, with the tag or the
digest as its revision.

Each file of the checkpoint is a layer of its own, as `oras push` and the CNCF's model format write them: its name is
an annotation, its digest the layer's own. A registry asks for a token where it wants one; credentials go to the realm
that it names, over TLS or to the registry's own host.
https://github.com/opencontainers/distribution-spec/blob/main/spec.md
"""

import hashlib
import json
import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import quote

import httpx
from paddock_core.catalog.sources import with_scheme
from pydantic import SecretStr

from paddock_serving.errors import WeightsError
from paddock_serving.settings import PrepareSettings
from paddock_serving.weights.sources.base import Checkpoint, Expected, Source, catalogued, credentials_digest
from paddock_serving.weights.web import Web, new_client

_NAMES: Final = ("org.opencontainers.image.title", "org.cncf.model.filepath")
_ACCEPT: Final = "application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_PACKED: Final = re.compile(r".*\+(gzip|zstd)|application/vnd\.cncf\.model\..*\.tar")
"""Types of layers that hold an archive. (`oras push` calls a plain file a `tar` of the image format: it is none.)"""
_UNPACK: Final = "io.deis.oras.content.unpack"
_PARAMETER: Final = re.compile(r'([a-z]+)="([^"]*)"')


class RegistryAuth(httpx.Auth):
    """Answers a registry's challenge: asks its realm for a token, with the credentials if there are any, once."""

    def __init__(self, *, registry: str, username: str, password: SecretStr) -> None:
        self._registry = httpx.URL(registry)
        self._basic = httpx.BasicAuth(username, password.get_secret_value()) if username else None
        self._held = ""

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Try with what is held; where that is refused, get a token and try once more."""
        if self._held:
            request.headers["Authorization"] = self._held
        response = yield request
        challenge = response.headers.get("WWW-Authenticate", "")
        if response.status_code != httpx.codes.UNAUTHORIZED or response.url.host != self._registry.host:
            return
        scheme = challenge.partition(" ")[0].lower()
        if scheme == "basic" and self._basic is not None:
            request = next(self._basic.sync_auth_flow(request))
        elif scheme == "bearer":
            token = _token((yield self._asking(dict(_PARAMETER.findall(challenge)))))
            if not token:
                return
            request.headers["Authorization"] = f"Bearer {token}"
        else:
            return
        self._held = request.headers["Authorization"]
        yield request

    def _asking(self, challenge: dict[str, str]) -> httpx.Request:
        realm = httpx.URL(challenge.get("realm", ""))
        wanted: dict[str, str] = {name: challenge[name] for name in ("service", "scope") if name in challenge}
        asked = httpx.Request("GET", realm.copy_merge_params(wanted))
        safe = realm.scheme == "https" or realm.host == self._registry.host
        return next(self._basic.sync_auth_flow(asked)) if self._basic is not None and safe else asked


class Artifact:
    """A Source over the registry's HTTP API."""

    def __init__(self, *, api: str, reference: str, listed: tuple[Expected, ...], access: str, web: Web) -> None:
        self._api = api
        self._reference = reference
        self._listed = listed
        self._access = access
        self._web = web
        self._layers: dict[str, str] = {}

    def place(self) -> str:
        """The repository at its tag or digest."""
        return f"oci:{self._api}@{self._reference}"

    def access(self) -> str:
        """A digest of the credentials, if there are any."""
        return self._access

    def files(self) -> tuple[Expected, ...]:
        """The layers with a name. Raises WeightsError where they are not files, or others than the catalogue lists."""
        response = self._web.get(
            f"{self._api}/manifests/{quote(self._reference, safe=':')}", headers={"Accept": _ACCEPT}
        )
        if _DIGEST.fullmatch(self._reference):
            found = f"sha256:{hashlib.sha256(response.content).hexdigest()}"
            if found != self._reference:
                raise WeightsError(f"{self.place()}: its manifest has the digest {found}; ask the registry's team why")
        files = {file.name: file for file in self._named(_layers(response, self.place()))}
        self._layers = {name: f"sha256:{file.sha256}" for name, file in files.items()}
        wrong = [file.name for file in self._listed if file.name not in files]
        wrong += [file.name for file in self._listed if file.sha256 not in (None, files.get(file.name, file).sha256)]
        if wrong:
            raise WeightsError(f"{self.place()} has no {', '.join(wrong[:5])} as listed: push it, or mend the list")
        return tuple(files[file.name] for file in self._listed) if self._listed else tuple(files.values())

    @contextmanager
    def read(self, file: Expected, *, offset: int) -> Iterator[Iterator[bytes]]:
        """Read a layer from an offset."""
        with self._web.read(f"{self._api}/blobs/{self._layers[file.name]}", file, offset=offset) as chunks:
            yield chunks

    def close(self) -> None:
        """End its connections."""
        self._web.close()

    def _named(self, layers: list[dict[str, Any]]) -> Iterator[Expected]:
        for layer in layers:
            kind, notes = str(layer.get("mediaType", "")), layer.get("annotations") or {}
            name = next((str(notes[key]) for key in _NAMES if notes.get(key)), "")
            if not name and len(layers) == 1 and "gguf" in kind:
                name = "model.gguf"
            digest, size = str(layer.get("digest", "")), layer.get("size")
            packed = _PACKED.fullmatch(kind) or notes.get(_UNPACK) == "true"
            if not name or packed or _DIGEST.fullmatch(digest) is None or not isinstance(size, int):
                raise WeightsError(
                    f"{self.place()}: layer {digest} of type {kind!r} is no plain file with a name: push the files one "
                    "a layer, for example with `oras push`"
                )
            yield Expected(name=name.removeprefix("./"), bytes=size, sha256=digest.removeprefix("sha256:"))


def _layers(response: httpx.Response, place: str) -> list[dict[str, Any]]:
    try:
        layers = json.loads(response.content)["layers"]
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{place} is no artifact with layers ({error!r}): name one artifact, not an index"
        ) from error
    if not isinstance(layers, list) or not all(isinstance(layer, dict) for layer in layers) or not layers:
        raise WeightsError(f"{place} has no layers: push the checkpoint's files")
    return layers


def _token(response: httpx.Response) -> str:
    response.read()
    try:
        document = response.json()
        return str(document.get("token") or document.get("access_token") or "")
    except (ValueError, AttributeError):
        return ""


def open_source(*, checkpoint: Checkpoint, settings: PrepareSettings) -> Source:
    """The artifact that the catalogue names. Raises WeightsError without a revision: nothing is `latest` here."""
    repository, reference = with_scheme(checkpoint.weights.source["repository"]), checkpoint.weights.revision
    scheme, _, rest = repository.partition("://")
    registry, _, name = rest.partition("/")
    if not reference or not name:
        raise WeightsError(f"{rest} needs a path in the registry, and a tag or digest as its revision")
    username, password = settings.oci_username, settings.oci_password
    auth = RegistryAuth(registry=f"{scheme}://{registry}", username=username, password=password)
    refused = "put a user that may pull it into the Secret for sources (docs/weights.md)"
    web = Web(client=new_client(), place=rest, refused=refused, auth=auth)
    access = credentials_digest(username, password.get_secret_value())
    api = f"{scheme}://{registry}/v2/{name}"
    return Artifact(api=api, reference=reference, listed=catalogued(checkpoint), access=access, web=web)
