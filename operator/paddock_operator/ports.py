"""What the operator needs of the outside: each is a Protocol, its real form in `adapters/`."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from paddock_core.audit.denials import Denial
from paddock_core.policy.documents import RegisteredModel
from paddock_core.policy.view import PolicyView
from paddock_core.resources.llamadeployment import WeightsStatus
from paddock_core.usage.pod_time import Sighting

from paddock_operator.kinds import Kind

Manifest = dict[str, Any]
"""A Kubernetes object as the API writes it."""


class Key(NamedTuple):
    """A LlamaDeployment by namespace and name: the unit of work."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


Reduce = Callable[[Manifest], Manifest]
"""Drops what nobody reads."""


def whole(manifest: Manifest) -> Manifest:
    """Drops nothing."""
    return manifest


class Listing(NamedTuple):
    """Objects and the revision at which they were listed."""

    items: list[Manifest]
    revision: str


class WatchEvent(NamedTuple):
    """One line of a watch: ADDED, MODIFIED, DELETED or BOOKMARK."""

    type: str
    object: Manifest


class Cluster(Protocol):
    """The Kubernetes API. Every method may raise ClusterError; writes may raise NotLeadingError."""

    async def get(self, kind: Kind, *, namespace: str | None, name: str) -> Manifest:
        """Read one object. Raises NotFoundError."""

    async def list(self, kind: Kind, *, selector: str = "", reduce: Reduce = whole) -> Listing:
        """Read all objects of a kind, in all namespaces, that a label selector picks. `reduce` is given one after the
        other, and what it leaves of them is told: never are all of them in memory as they came."""

    async def events(self, *, namespace: str, about: Mapping[str, str]) -> tuple[Manifest, ...]:
        """Read the Events of a namespace about what these fields of `involvedObject` pick."""

    def watch(self, kind: Kind, *, selector: str = "", revision: str) -> AsyncIterator[WatchEvent]:
        """Follow changes after a revision. Ends by itself after some minutes. Raises GoneError: list again."""

    async def apply(self, manifest: Manifest, *, subresource: str = "") -> Manifest:
        """Server-side apply under our field manager, taking fields from others where they differ."""

    async def merge(self, kind: Kind, *, namespace: str | None, name: str, patch: Manifest) -> Manifest:
        """JSON merge patch; a `metadata.resourceVersion` in it is a precondition (ConflictError)."""

    async def create(self, manifest: Manifest) -> Manifest:
        """Create an object. Raises ConflictError if it is there."""

    async def replace(self, manifest: Manifest, *, subresource: str = "") -> Manifest:
        """Replace an object, or that part of it, at the resourceVersion that it carries. Raises ConflictError, and
        NotFoundError if it is gone."""

    async def delete(
        self,
        kind: Kind,
        *,
        namespace: str | None,
        name: str,
        uid: str | None = None,
        grace_seconds: int | None = None,
    ) -> bool:
        """Delete an object, its dependents in the background; false if it was gone already, which is fine. A wrong uid:
        ConflictError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The policy as the operator knows it. `expired` copies must not allow anything new."""

    view: PolicyView
    expired: bool
    at: float
    """Unix seconds by the control plane's clock: licenses are judged by it. 0 before it ever answered."""


class PolicySource(Protocol):
    """The followed policy."""

    def current(self) -> Policy:
        """The newest copy."""


class ControlPlane(Protocol):
    """The control plane's internal API."""

    async def download_token(self, *, model: str, entity: str) -> str:
        """A short-lived token for the weights Job. Raises DownloadDeniedError or ControlPlaneError."""

    async def refer(self, *, entity: str, model: str, weights: str, tokenizer: str) -> None:
        """Tell that an entity needs these files. Raises ControlPlaneError, also where it has no license for them."""

    async def start_purge(self, *, purge: str) -> str | None:
        """Begin an order; a token for its Job, None where the order is over. Raises ControlPlaneError."""

    async def tell_denials(self, denials: Sequence[Denial]) -> None:
        """Tell what was denied, for the audit log. Raises ControlPlaneError."""

    async def tell_pod_times(self, sightings: Sequence[Sighting]) -> None:
        """Tell which pods were seen, and when. Raises ControlPlaneError."""


class ModelRegistry(Protocol):
    """The part of it that LlamaModels are registered with."""

    async def put_model(self, model: RegisteredModel) -> None:
        """Register a model, or change its names. Raises RegistrationRefusedError or ControlPlaneError."""

    async def drop_model(self, model: str) -> None:
        """Take a registration away; one that is gone is fine. Raises RegistrationRefusedError or ControlPlaneError."""


class Prober(Protocol):
    """Asks a Triton for one token."""

    async def generates(self, *, url: str, secret: str) -> str | None:
        """None if it answered with a generated token, else what went wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a copy is tried with."""

    requests: int = 8
    concurrency: int = 4
    """Of them at once."""
    output_tokens: int = 32
    """Most of one answer."""
    seconds: float = 60.0
    """Longer it never takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """How a copy bore it."""

    ttft_ms: tuple[float, ...]
    """Time to the first token of each answer."""
    output_tokens: int
    seconds: float
    """From the first request to the end of the last answer."""


class Bencher(Protocol):
    """Tries a Triton with a small load."""

    async def measure(self, *, url: str, secret: str, load: Load) -> Measured:
        """Send the load and wait for its end. Raises BenchmarkError."""


class CacheReader(Protocol):
    """Asks a Triton for the use of its key-value cache."""

    async def used(self, *, url: str) -> float | None:
        """The used part, 0 to 1, by its metrics; None where it does not tell."""


class ProgressReader(Protocol):
    """Asks a pod that fetches weights how far it is."""

    async def read(self, *, url: str) -> WeightsStatus | None:
        """What it says; None where it does not answer, or says something else."""


class Clock(Protocol):
    """The clocks."""

    def now(self) -> float:
        """Wall clock, Unix seconds: only for what people and other machines read."""

    def boottime(self) -> float:
        """Seconds since boot, through suspend; cannot be set: for leases and ages."""


Labels = Mapping[str, str]
