"""What a round may do: each action is one idempotent write, or a fixed pair of them."""

from collections.abc import Iterable
from dataclasses import dataclass

from paddock_core.catalog.types import ModelEntry
from paddock_core.resources import names

from paddock_operator.kinds import JOB, Kind
from paddock_operator.ports import Manifest

Place = tuple[str, str, str]
"""Kind, namespace and name of an object."""


def place_of(manifest: Manifest) -> Place:
    """Where it is, or will be."""
    metadata = manifest["metadata"]
    return str(manifest["kind"]), str(metadata.get("namespace", "")), str(metadata["name"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Apply:
    """Server-side apply of a manifest, unless it is there as rendered."""

    manifest: Manifest
    needs: frozenset[Place] = frozenset()
    """What it must not be made without: where one of these is refused, it waits for a later round."""


def in_turn(manifests: Iterable[Manifest], *, needs: frozenset[Place] = frozenset()) -> tuple[Apply, ...]:
    """Each needs `needs` and all those before it."""
    made = list[Apply]()
    for manifest in manifests:
        made.append(Apply(manifest=manifest, needs=needs))
        needs |= {place_of(manifest)}
    return tuple(made)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete:
    """Delete an object; `uid` is a precondition, so that a new object of the same name is never hit."""

    kind: Kind
    namespace: str
    name: str
    uid: str | None = None
    forced: bool = False
    """True for a pod on a node that does not answer: nobody there would ever say that it has ended."""


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

    model: ModelEntry
    precision: str
    digest: str
    entity: str
    """Who needs the files."""
    licenses: tuple[str, ...]
    """Those whose notices lie beside the files."""
    catalogued: bool
    """True for a model of the catalogue: its source was chosen by nobody but the publisher of the catalogue."""
    owner: str
    """The tenant that registered it; empty for the platform's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refer:
    """Tell the control plane that an entity needs these files: they are not removed as long as it is licensed."""

    entity: str
    model: str
    weights: str
    tokenizer: str
    urgent: bool = False
    """True where their removal is ordered: then it is told again even if it was told lately."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordResult:
    """Write an annotation and nothing else: what a container left, on its Job, so that it outlives the pod."""

    namespace: str
    name: str
    result: str
    annotation: str = names.RESULT
    kind: Kind = JOB


Action = Apply | Delete | AddFinalizer | RemoveFinalizer | StartWeights | RecordResult | Refer
