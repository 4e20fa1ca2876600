"""The Kubernetes API through lightkube's configuration and authenticated HTTP client.

Objects travel as plain documents: the operator renders and compares whole manifests, for which typed models would only
cost memory. lightkube brings what is hard to get right: kubeconfig files, tokens that rotate, exec plugins, TLS.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx2
import msgspec
from lightkube.config.client_adapter import ConnectionParams
from lightkube.config.kubeconfig import KubeConfig
from paddock_core.resources.names import OPERATOR

from paddock_operator.adapters.pacing import paced
from paddock_operator.adapters.transport import AiohttpTransport
from paddock_operator.errors import (
    ClusterError,
    ConflictError,
    GoneError,
    NotFoundError,
    OverloadedError,
    SilentError,
    told,
)
from paddock_operator.kinds import EVENT, LLAMA_DEPLOYMENT, Kind, kind_of
from paddock_operator.ports import Listing, Manifest, Reduce, WatchEvent, whole

REQUEST_SECONDS = 20.0
WATCH_SECONDS = 60
"""After so long the API server ends a watch by itself, which then goes on from where it was: that costs one request,
and it tells a stream of which nothing is heard because nothing happens from one that is dead."""
SILENCE_SECONDS = 70.0
"""A stream that is silent for longer is dead though its socket is open: list again."""
PAGE = 250
OWN_PAGE = 50
"""Of our own kinds: what tenants write may be large, and a page is in memory as a whole."""
AT_A_STRETCH = 25
"""Objects of a page that are read before others may go on."""


class _Page(msgspec.Struct):
    """A part of a list, whose items are read one by one: as documents, all of them take ten times as much memory."""

    metadata: dict[str, Any] = {}
    items: list[msgspec.Raw] | None = None


_PAGES = msgspec.json.Decoder(_Page)


def connect(kubeconfig: Path | None) -> httpx2.AsyncClient:
    """An authenticated HTTP client: from this kubeconfig's current context, or the pod's service account."""
    config = KubeConfig.from_file(kubeconfig) if kubeconfig is not None else KubeConfig.from_service_account()
    single = config.get()
    if single is None:
        raise ClusterError(f"{kubeconfig} names no current context: run `kubectl config use-context NAME`")
    parameters = ConnectionParams(timeout=httpx2.Timeout(REQUEST_SECONDS), trust_env=False)
    values = parameters.httpx_params(single)
    values["transport"] = AiohttpTransport(values["verify"])
    return paced(httpx2.AsyncClient(**values, headers={"User-Agent": OPERATOR}))


class LightkubeCluster:
    """The port `Cluster`. `may_write` is asked before every write and raises NotLeadingError where it may not be."""

    def __init__(
        self, client: httpx2.AsyncClient, *, may_write: Callable[[], None], silence_seconds: float = SILENCE_SECONDS
    ) -> None:
        self._client = client
        self._base = str(client.base_url).rstrip("/")
        self._silence_seconds = silence_seconds
        self._may_write = may_write

    async def get(self, kind: Kind, *, namespace: str | None, name: str) -> Manifest:
        return await self._request("GET", kind.path(namespace=namespace, name=name))

    async def list(self, kind: Kind, *, selector: str = "", reduce: Reduce = whole) -> Listing:
        items: list[Manifest] = []
        page_size = OWN_PAGE if kind.group == LLAMA_DEPLOYMENT.group else PAGE
        parameters = _parameters(labelSelector=selector, limit=str(page_size))
        while True:
            page = _PAGES.decode(await self._send("GET", kind.path(), parameters=parameters))
            for number, raw in enumerate(page.items or ()):
                # Items of a list lack what is said once for the list; a watch says it of each object.
                items.append(reduce({"apiVersion": kind.api_version, "kind": kind.name, **msgspec.json.decode(raw)}))
                if number % AT_A_STRETCH == AT_A_STRETCH - 1:
                    await asyncio.sleep(0)
            if not page.metadata.get("continue"):
                return Listing(items, page.metadata["resourceVersion"])
            parameters["continue"] = page.metadata["continue"]

    async def events(self, *, namespace: str, about: Mapping[str, str]) -> tuple[Manifest, ...]:
        fields = ",".join(f"involvedObject.{name}={value}" for name, value in about.items())
        page = await self._request("GET", EVENT.path(namespace=namespace), parameters=_parameters(fieldSelector=fields))
        return tuple(page.get("items") or ())

    async def watch(self, kind: Kind, *, selector: str = "", revision: str) -> AsyncIterator[WatchEvent]:
        answered = False
        parameters = _parameters(
            watch="true",
            labelSelector=selector,
            resourceVersion=revision,
            allowWatchBookmarks="true",
            timeoutSeconds=str(WATCH_SECONDS),
        )
        timeout = httpx2.Timeout(REQUEST_SECONDS, read=self._silence_seconds)
        try:
            async with self._client.stream("GET", kind.path(), params=parameters, timeout=timeout) as response:
                if response.status_code >= 400:
                    await response.aread()
                    _raise_for(response)
                answered = True
                rest = b""
                async for chunk in response.aiter_raw():
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        yield _event(line)
        except httpx2.HTTPError as error:
            if answered and isinstance(error, httpx2.ReadTimeout):
                raise SilentError(f"watch of {kind.plural}: silent for {self._silence_seconds:g} s") from error
            raise ClusterError(f"watch of {kind.plural}: {told(error)}") from error

    async def apply(self, manifest: Manifest, *, subresource: str = "") -> Manifest:
        metadata = manifest["metadata"]
        path = kind_of(manifest).path(namespace=metadata.get("namespace"), name=metadata["name"])
        return await self._write(
            "PATCH",
            f"{path}/{subresource}" if subresource else path,
            parameters={"fieldManager": OPERATOR, "force": "true"},
            body=manifest,
            content_type="application/apply-patch+yaml",
        )

    async def merge(self, kind: Kind, *, namespace: str | None, name: str, patch: Manifest) -> Manifest:
        return await self._write(
            "PATCH",
            kind.path(namespace=namespace, name=name),
            parameters={"fieldManager": OPERATOR},
            body=patch,
            content_type="application/merge-patch+json",
        )

    async def create(self, manifest: Manifest) -> Manifest:
        path = kind_of(manifest).path(namespace=manifest["metadata"].get("namespace"))
        return await self._write("POST", path, parameters={"fieldManager": OPERATOR}, body=manifest)

    async def replace(self, manifest: Manifest, *, subresource: str = "") -> Manifest:
        metadata = manifest["metadata"]
        path = kind_of(manifest).path(namespace=metadata.get("namespace"), name=metadata["name"])
        path = f"{path}/{subresource}" if subresource else path
        return await self._write("PUT", path, parameters={"fieldManager": OPERATOR}, body=manifest)

    async def delete(
        self,
        kind: Kind,
        *,
        namespace: str | None,
        name: str,
        uid: str | None = None,
        grace_seconds: int | None = None,
    ) -> bool:
        body: Manifest = {"propagationPolicy": "Background"}
        if grace_seconds is not None:
            body["gracePeriodSeconds"] = grace_seconds
        if uid is not None:
            body["preconditions"] = {"uid": uid}
        try:
            await self._write("DELETE", kind.path(namespace=namespace, name=name), body=body)
        except NotFoundError:
            return False
        return True

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def _write(
        self,
        method: str,
        path: str,
        *,
        parameters: dict[str, str] | None = None,
        body: Manifest,
        content_type: str = "application/json",
    ) -> Manifest:
        self._may_write()
        return await self._request(method, path, parameters=parameters, body=body, content_type=content_type)

    async def _request(
        self,
        method: str,
        path: str,
        *,
        parameters: dict[str, str] | None = None,
        body: Manifest | None = None,
        content_type: str = "application/json",
    ) -> Manifest:
        answer = await self._send(method, path, parameters=parameters, body=body, content_type=content_type)
        document: Manifest = msgspec.json.decode(answer)
        return document

    async def _send(
        self,
        method: str,
        path: str,
        *,
        parameters: dict[str, str] | None = None,
        body: Manifest | None = None,
        content_type: str = "application/json",
    ) -> bytes:
        # Whole and parsed once: the client would parse it three times, which is half the cost of a request.
        query = f"?{urlencode(parameters)}" if parameters else ""
        try:
            response = await self._client.request(
                method,
                httpx2.URL(f"{self._base}{path}{query}"),
                content=None if body is None else msgspec.json.encode(body),
                headers={"Content-Type": content_type},
            )
        except httpx2.HTTPError as error:
            raise ClusterError(f"{method} {path}: {told(error)}") from error
        _raise_for(response)
        return response.content


def _parameters(**values: str) -> dict[str, str]:
    return {name: value for name, value in values.items() if value}


def _event(line: bytes) -> WatchEvent:
    document: dict[str, Any] = msgspec.json.decode(line)
    if document["type"] == "ERROR":
        status = document["object"]
        kind = GoneError if status.get("code") == 410 else ClusterError
        raise kind(f"watch: {status.get('message')}", status=int(status.get("code", 0)))
    return WatchEvent(document["type"], document["object"])


_ERRORS: dict[int, type[ClusterError]] = {
    404: NotFoundError,
    409: ConflictError,
    410: GoneError,
    429: OverloadedError,
    503: OverloadedError,
}


def _raise_for(response: httpx2.Response) -> None:
    if response.status_code < 400:
        return
    try:
        message = str(msgspec.json.decode(response.content).get("message"))
    except (msgspec.DecodeError, AttributeError):
        message = response.text[:300]
    kind = _ERRORS.get(response.status_code, ClusterError)
    about = f"{response.request.method} {response.request.url.path}"
    raise kind(f"{about}: {message}", status=response.status_code, about=about)
