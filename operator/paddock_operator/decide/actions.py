"""What a round may do: each action is one idempotent write, or a fixed pair of them."""

from dataclasses import dataclass

from paddock_operator.kinds import Kind
from paddock_operator.ports import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Apply:
    """Server-side apply of a manifest, unless it is there as rendered."""

    manifest: Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete:
    """Delete an object; `uid` is a precondition, so that a new object of the same name is never hit."""

    kind: Kind
    namespace: str
    name: str
    uid: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AddFinalizer:
    """Before anything is created: from now on the object cannot go without us."""

    resource_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveFinalizer:
    """After everything is gone."""

    resource_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StartWeights:
    """Ask the control plane for leave to download, then apply the Secret with its token, and the Job."""

    model: str
    precision: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordResult:
    """Keep what the weights container left on its Job, so that it outlives the pod."""

    namespace: str
    name: str
    result: str


Action = Apply | Delete | AddFinalizer | RemoveFinalizer | StartWeights | RecordResult
