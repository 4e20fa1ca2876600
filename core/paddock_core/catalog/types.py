"""What a catalogue file says: one YAML file a model, one a license."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimensions:
    """A decoder's exact dimensions, as in the publisher's configuration."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocab: int
    tied_embeddings: bool = False
    """True where the output projection is the embedding matrix itself."""

    def parameters(self) -> int:
        """Parameter count of a Llama decoder with these dimensions.

        Per layer: query and output projections (hidden x heads*head_dim each), key and value projections
        (hidden x kv_heads*head_dim each), three feed-forward matrices (hidden x ffn) and two norms (hidden);
        then the final norm, the embedding and, unless tied, the output projection.
        """
        attention = 2 * self.hidden * self.heads * self.head_dim + 2 * self.hidden * self.kv_heads * self.head_dim
        layer = attention + 3 * self.hidden * self.ffn + 2 * self.hidden
        embeddings = self.vocab * self.hidden * (1 if self.tied_embeddings else 2)
        return self.layers * layer + self.hidden + embeddings


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightFile:
    """One file of a checkpoint. An unknown digest or size is None, never invented."""

    name: str
    bytes: int | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightSet:
    """A checkpoint in one precision: where it comes from and how large it is."""

    format: str
    """gguf or safetensors."""
    bytes: int
    """Size of the weights in memory, from the real file list where it is known."""
    source: dict[str, str]
    """`kind` picks the module in paddock_serving.weights.sources; the rest are its parameters."""
    revision: str | None = None
    files: tuple[WeightFile, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEntry:
    """A model that the platform knows."""

    id: str
    title: str
    public_name: str
    """The publisher's name for it, to which naming clauses apply."""
    family: str
    architecture: str
    parameters: int
    dimensions: Dimensions
    context_length: int
    licenses: tuple[str, ...]
    """Every one must pass. Where the publisher contradicts itself, every candidate is listed."""
    default_engine: str
    default_precision: str
    weights: dict[str, WeightSet]
    modality: tuple[str, ...] = ("text",)
    max_tensor_parallel: int = 8
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TextPin:
    """A text that belongs to a license, pinned by digest. The words themselves are never part of the product."""

    role: str
    """agreement or aup (acceptable-use policy)."""
    canonical: str
    """Hex SHA-256 of the canonical words (paddock_core.licensing.texts)."""
    raw: tuple[str, ...] = ()
    """Hex SHA-256 of byte forms in which the publisher has shipped the same words."""
    equivalent_to: tuple[str, ...] = ()
    """Canonical digests of copies that a person compared and found equal in meaning."""
    url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Clause:
    """One clause: `type` picks the module in paddock_core.licensing.clauses, `params` are its parameters."""

    id: str
    type: str
    duty: str
    """What the clause asks of the accepting entity, in plain words."""
    params: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LicenseEntry:
    """A license as data."""

    id: str
    title: str
    spdx: str
    dated: str
    """ISO date of release or effect, as the text gives it."""
    licensor: str
    texts: tuple[TextPin, ...]
    clauses: tuple[Clause, ...]
    notice: str | None = None
    """The exact text of the notice file, where the license asks for one."""

    def text(self, role: str) -> TextPin | None:
        """The pin of the text in this role, or None where the license has no such text."""
        return next((pin for pin in self.texts if pin.role == role), None)
