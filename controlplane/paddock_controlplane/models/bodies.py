"""What a registration says over HTTP, with its bounds."""

from typing import Annotated, Literal

from paddock_core.catalog.sources import problem
from paddock_core.catalog.types import WeightFile, WeightSet
from paddock_core.policy.documents import RegisteredModel
from pydantic import Field, StringConstraints, field_validator

from paddock_controlplane.fields import Body, Id, Line

ModelId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9.-]{0,98}[a-z0-9])?$")]
"""Also the name of a Kubernetes object, and what a LlamaDeployment names."""
Word = Annotated[str, StringConstraints(max_length=200, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:/-]*$")]
Precision = Annotated[str, StringConstraints(max_length=40, pattern=r"^[a-z0-9]([a-z0-9_.-]*[a-z0-9])?$")]
FileName = Annotated[str, StringConstraints(max_length=200, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
Bytes = Annotated[int, Field(ge=0, le=2**53)]


class FileBody(Body):
    """One file of a checkpoint."""

    name: FileName
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    """SHA-256 of its bytes. Another content is refused when it is fetched."""
    bytes: Bytes | None = None


class WeightsBody(Body):
    """A checkpoint in one precision."""

    precision: Precision
    format: Literal["gguf", "safetensors"]
    bytes: Annotated[int, Field(ge=1, le=2**53)]
    """Size in memory."""
    source: Annotated[dict[Word, Word], Field(min_length=1, max_length=8)]
    """`kind` is the source of weights, the rest are its parameters."""
    revision: Word | None = None
    files: Annotated[list[FileBody], Field(min_length=1, max_length=300)]

    @field_validator("source")
    @classmethod
    def _plain(cls, source: dict[str, str]) -> dict[str, str]:
        lacking = problem(source)
        if lacking is not None:
            raise ValueError(lacking)
        if any(".." in value for value in source.values()):
            raise ValueError("a source's parameters hold no `..`")
        return source

    @field_validator("files")
    @classmethod
    def _once(cls, files: list[FileBody]) -> list[FileBody]:
        if len({file.name for file in files}) != len(files):
            raise ValueError("a file is there twice")
        return files

    def weight_set(self) -> WeightSet:
        """In the catalogue's terms."""
        files = tuple(WeightFile(name=file.name, bytes=file.bytes, sha256=file.sha256) for file in self.files)
        return WeightSet(
            format=self.format, bytes=self.bytes, source=dict(self.source), revision=self.revision, files=files
        )


class RegistrationBody(Body):
    """How a model was made, and where its weights are."""

    base: ModelId
    """What it was made from: a model of the catalogue, or a registered one."""
    kind: Annotated[str, StringConstraints(max_length=40)] = "fine_tune"
    """fine_tune, adapter, merge, quantization or distillation."""
    public_name: Line | None = None
    """The name under which others see it; its id if not given. Many licenses say how it begins."""
    teachers: list[ModelId] = Field(default_factory=list, max_length=8)
    """Models on whose outputs it was trained."""
    merged_with: list[ModelId] = Field(default_factory=list, max_length=8)
    """The other models whose weights went into it, for a merge; each binds it as its base does."""
    published: bool | None = None
    """True lets every tenant see and deploy it; false says that it is private; unset is not known to be private."""
    owner: Id | None = None
    """The tenant that it belongs to; the platform, and all tenants may deploy it, if the platform leaves it out."""
    weights: WeightsBody | None = None
    """Its own checkpoint. Without one it is registered, but cannot be served."""

    def model(self, model_id: str, *, owner: str | None) -> RegisteredModel:
        """The registration as a policy object."""
        return RegisteredModel(
            id=model_id,
            base=self.base,
            kind=self.kind,
            public_name=self.public_name,
            teachers=tuple(dict.fromkeys(self.teachers)),
            merged_with=tuple(dict.fromkeys(self.merged_with)),
            published=self.published,
            owner=owner,
            precision="" if self.weights is None else self.weights.precision,
            weights=None if self.weights is None else self.weights.weight_set(),
        )


class NewModelBody(RegistrationBody):
    """A registration under a new id."""

    id: ModelId
