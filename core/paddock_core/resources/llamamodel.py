"""The LlamaModel custom resource, group paddock.dev, version v1alpha1, as types: a model that somebody made.

`crds/llamamodels.yaml` is the schema that the API server enforces; a test checks that both agree.
"""

from typing import Any

from paddock_core.catalog.types import WeightFile, WeightSet
from paddock_core.policy.documents import RegisteredModel
from paddock_core.resources.llamadeployment import API_VERSION, GROUP, VERSION, Condition, _Document

__all__ = ["API_VERSION", "FINALIZER", "GROUP", "KIND", "PLURAL", "VERSION", "LlamaModel", "Spec", "Status"]

KIND = "LlamaModel"
PLURAL = "llamamodels"
FINALIZER = "paddock.dev/registration"


class FileSpec(_Document, frozen=True, kw_only=True):
    """One file of a checkpoint."""

    name: str
    sha256: str
    bytes: int | None = None


class WeightsSpec(_Document, frozen=True, kw_only=True):
    """A checkpoint in one precision, as in the catalogue."""

    precision: str
    format: str
    """gguf or safetensors."""
    bytes: int
    """Size in memory."""
    source: dict[str, str]
    files: tuple[FileSpec, ...]
    revision: str | None = None


class Spec(_Document, frozen=True, kw_only=True):
    base: str
    kind: str = "fine_tune"
    public_name: str | None = None
    teachers: tuple[str, ...] = ()
    merged_with: tuple[str, ...] = ()
    published: bool | None = None
    owner: str | None = None
    """A tenant; None: the platform."""
    weights: WeightsSpec | None = None


class Status(_Document, frozen=True, kw_only=True):
    observed_generation: int = 0
    licenses: tuple[str, ...] = ()
    """Inherited from its base, and from its teachers where theirs follow their outputs."""
    conditions: tuple[Condition, ...] = ()


class LlamaModel(_Document, frozen=True, kw_only=True):
    """A whole object; `metadata` stays the API's own document."""

    api_version: str = API_VERSION
    kind: str = KIND
    metadata: dict[str, Any]
    spec: Spec
    status: Status = Status()

    @property
    def name(self) -> str:
        """Also the model's id."""
        return str(self.metadata["name"])

    def registered(self) -> RegisteredModel:
        """The registration that the object asks for."""
        spec, weights = self.spec, self.spec.weights
        return RegisteredModel(
            id=self.name,
            base=spec.base,
            kind=spec.kind,
            public_name=spec.public_name,
            teachers=spec.teachers,
            merged_with=spec.merged_with,
            published=spec.published,
            owner=spec.owner,
            precision="" if weights is None else weights.precision,
            weights=None if weights is None else _weights(weights),
        )


def _weights(spec: WeightsSpec) -> WeightSet:
    files = tuple(WeightFile(name=file.name, bytes=file.bytes, sha256=file.sha256) for file in spec.files)
    return WeightSet(
        format=spec.format, bytes=spec.bytes, source=dict(spec.source), revision=spec.revision, files=files
    )
