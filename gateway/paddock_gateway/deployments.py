"""The routes: LlamaDeployments as the API server tells them, kept while it is away."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from lightkube import AsyncClient, KubeConfig
from lightkube.core.exceptions import ApiError, LoadResourceError
from lightkube.generic_resource import create_namespaced_resource
from paddock_core.resources.llamadeployment import (
    GROUP,
    KIND,
    PLURAL,
    VERSION,
    LlamaDeployment,
    TargetStatus,
)

from paddock_gateway.errors import told

_log = logging.getLogger(__name__)
_Resource = create_namespaced_resource(GROUP, VERSION, KIND, PLURAL)
WATCH_SECONDS = 240
"""The API server ends a watch after so long; one that stays silent for longer is taken for dead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """One target of a deployment's routing: what its copies run, and which of them answer."""

    name: str
    weight: int
    """Share of the requests in proportion to the other targets' weights."""
    model: str
    tokenizer: str
    """Digest of its tokenizer document."""
    context_length: int
    max_concurrency: int
    """Sequences that each endpoint runs at once."""
    endpoints: tuple[str, ...]

    def serves_as(self, other: "Revision") -> bool:
        """True if what was prepared for the other one (prompt, cap, price) holds for this one."""
        mine = (self.name, self.model, self.tokenizer, self.context_length)
        return mine == (other.name, other.model, other.tokenizer, other.context_length)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What a gateway needs of one LlamaDeployment."""

    name: str
    """`<namespace>/<name>`: the served model name."""
    namespace: str
    uid: str
    created: int
    """Unix seconds."""
    model: str
    """What its owner asks for; what is served is a revision's."""
    purpose: str
    declined: bool
    """The owner wrote `license.accept: false`."""
    access: frozenset[str]
    """Tenants, beside the owner, that may call it."""
    secret_rotation: int = 0
    routing: str = ""
    """Digest of the routing, which says that it is known."""
    hold_seconds: int = 0
    """So long a request may wait for an endpoint; 0: not at all."""
    targets: tuple[Revision, ...] = ()
    leaving: tuple[str, ...] = ()
    """Base URLs of copies that are being drained: no request goes there, but they know what those came to that did."""
    usable: tuple[Revision, ...] = field(init=False)
    """The targets that requests may go to."""
    coming: tuple[Revision, ...] = field(init=False)
    """Those that they may wait for: they have a weight, and no endpoint perhaps."""
    models: tuple[str, ...] = field(init=False)
    """Catalogue ids of what answers or would, each once."""

    def __post_init__(self) -> None:
        coming = tuple(target for target in self.targets if target.weight > 0)
        usable = tuple(target for target in coming if target.endpoints)
        models = dict.fromkeys(target.model for target in usable or coming) or {self.model: None}
        for name, value in (("coming", coming), ("usable", usable), ("models", tuple(models))):
            object.__setattr__(self, name, value)

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Base URL of every Triton of any target."""
        return tuple(dict.fromkeys(url for target in self.targets for url in target.endpoints))


class Routes:
    """Every known deployment by its full and by its short name. Read and written by the event loop alone."""

    def __init__(self) -> None:
        self.told: Callable[[str, Deployment | None], None] = lambda _name, _deployment: None
        """Hears the name of each deployment that is put in, with it, or is gone, with None."""
        self.by_name: dict[str, Deployment] = {}
        self.by_short_name: dict[str, set[str]] = {}
        self.synced = False
        self.changes = 0
        """A number that grows with every change."""
        self.moved = False
        """True once endpoints changed; whoever looks after them takes it back."""

    def put(self, deployment: Deployment) -> None:
        former = self.by_name.get(deployment.name)
        if former == deployment:
            return  # most updates are of conditions, which are nothing to us
        self.changes += 1
        self.moved |= former is None or former.endpoints != deployment.endpoints
        self.by_name[deployment.name] = deployment
        self.by_short_name.setdefault(deployment.name.partition("/")[2], set()).add(deployment.name)
        self.told(deployment.name, deployment)

    def drop(self, name: str) -> None:
        self.changes += 1
        self.moved = True
        if self.by_name.pop(name, None) is not None:
            short = name.partition("/")[2]
            self.by_short_name[short].discard(name)
            if not self.by_short_name[short]:
                del self.by_short_name[short]
            self.told(name, None)

    def endpoints(self) -> frozenset[str]:
        """Base URL of every Triton that a deployment is served by."""
        return frozenset(url for deployment in self.by_name.values() for url in deployment.endpoints)

    def replace(self, deployments: list[Deployment]) -> None:
        """Take a fresh list: what is not in it is gone."""
        gone = set(self.by_name) - {deployment.name for deployment in deployments}
        for name in gone:
            self.drop(name)
        for deployment in deployments:
            self.put(deployment)
        self.synced = True


def read_deployment(document: dict[str, Any]) -> Deployment:
    """From the API's document. Raises msgspec.ValidationError if it does not fit the schema."""
    resource = msgspec.convert(document, LlamaDeployment)
    spec, routing, metadata = resource.spec, resource.status.routing, resource.metadata
    created = metadata.get("creationTimestamp") or "1970-01-01T00:00:00Z"
    return Deployment(
        name=resource.served_model_name,
        namespace=metadata["namespace"],
        uid=metadata["uid"],
        created=int(datetime.fromisoformat(created).timestamp()),
        model=spec.model.id,
        purpose=spec.license.use.purpose,
        declined=spec.license.accept is False,
        access=frozenset(spec.access.tenants),
        secret_rotation=0 if routing is None else routing.secret_rotation,
        routing="" if routing is None else routing.digest,
        hold_seconds=0 if routing is None else routing.hold_seconds,
        targets=() if routing is None else tuple(map(_revision, routing.targets)),
        leaving=() if routing is None else tuple(url.rstrip("/") for url in routing.leaving),
    )


def _revision(target: TargetStatus) -> Revision:
    return Revision(
        name=target.revision,
        weight=target.weight,
        model=target.model,
        tokenizer=target.tokenizer,
        context_length=target.context_length,
        max_concurrency=max(1, target.max_concurrency),
        endpoints=tuple(sorted(endpoint.url.rstrip("/") for endpoint in target.endpoints)),
    )


async def follow_deployments(
    *,
    kubeconfig: Path | None,
    routes: Routes,
    changed: Callable[[Deployment], None],
    settled: Callable[[], None],
    retry: float = 0.5,
) -> None:
    """Keep `routes` true until cancelled.

    `changed` hears of each deployment that was put in, `settled` of the end of every change.
    """
    delay = retry
    while True:
        try:
            client = _connect(kubeconfig)
            try:
                async for _ in _list_and_watch(client, routes, changed):
                    settled()
                    delay = retry
            finally:
                with contextlib.suppress(Exception):
                    await client.close()
        except LoadResourceError:
            raise
        except Exception as error:  # noqa: BLE001 - the follower outlives whatever the API server or a proxy does
            _log.warning("watching LlamaDeployments failed", extra={"error": told(error), "retry_in": delay})
        await asyncio.sleep(delay)
        delay = min(delay * 2, 5.0)


def _connect(kubeconfig: Path | None) -> AsyncClient:
    config = KubeConfig.from_service_account() if kubeconfig is None else KubeConfig.from_file(kubeconfig)
    return AsyncClient(config=config, trust_env=False)


async def _list_and_watch(client: AsyncClient, routes: Routes, changed: Callable[[Deployment], None]) -> Any:
    listing = client.list(_Resource, namespace="*")
    found = [deployment async for item in listing if (deployment := _read(item)) is not None]
    routes.replace(found)
    for deployment in found:
        changed(deployment)
    yield
    events = client.watch(
        _Resource, namespace="*", resource_version=listing.resourceVersion, server_timeout=WATCH_SECONDS
    )
    stream = aiter(events)
    while True:
        async with asyncio.timeout(WATCH_SECONDS + 10):
            try:
                kind, item = await anext(stream)
            except ApiError as error:
                if error.status.code == 410:
                    return
                raise
        deployment = _read(item)
        if deployment is None:
            continue
        if kind == "DELETED":
            routes.drop(deployment.name)
        else:
            routes.put(deployment)
            changed(deployment)
        yield


def _read(item: Any) -> Deployment | None:
    document = dict(item)
    try:
        return read_deployment(document)
    except (msgspec.ValidationError, KeyError) as error:
        name = document.get("metadata", {}).get("name")
        _log.warning("a LlamaDeployment could not be read", extra={"object": name, "error": str(error)})
        return None
