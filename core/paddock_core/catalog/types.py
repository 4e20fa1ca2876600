"""What a catalogue file says: one YAML file a model, one a license."""

from dataclasses import dataclass, field
from typing import Any

from paddock_core.catalog.areas import countries


@dataclass(frozen=True, slots=True, kw_only=True)
class Experts:
    """The expert layers of a mixture-of-experts decoder. Each has a router and one shared expert of the same width."""

    count: int
    layers: int
    """How many of the decoder's layers have experts; the others have one dense network of width `dense_ffn`."""
    dense_ffn: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Dimensions:
    """A decoder's exact dimensions, as in the publisher's configuration."""

    layers: int
    """Layers with self-attention: those that hold a key-value cache which grows with the text."""
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    """Width of the feed-forward network; of one expert where there are experts."""
    vocab: int
    tied_embeddings: bool = False
    """True where the output projection is the embedding matrix itself."""
    biased: bool = False
    """True for the older shape: two feed-forward matrices, biases everywhere, norms with a shift, one more norm after
    the embedding."""
    experts: Experts | None = None
    beside: int = 0
    """Parameters beside the decoder: an encoder of images and what joins it to the decoder."""
    image_layers: int = 0
    """Layers beside `layers` that attend to an image alone: their cache does not grow with the text."""
    image_tokens: int = 0
    """Tokens of one image of full size in that cache."""

    def parameters(self) -> int:
        """Parameter count of a decoder with these dimensions.

        Per layer: query and output projections (hidden x heads*head_dim each), key and value projections
        (hidden x kv_heads*head_dim each), the feed-forward network and two norms; then the final norm, the embedding
        and, unless tied, the output projection. With `biased`, each matrix has a bias and each norm a shift.
        """
        embeddings = self.vocab * self.hidden * (1 if self.tied_embeddings else 2)
        norm = self.hidden * (2 if self.biased else 1)
        norms = norm * (2 * self.layers + (2 if self.biased else 1))
        return self.layers * self._attention() + self._feed_forward() + norms + embeddings + self.beside

    def matrix_parameters(self) -> int:
        """Parameters of the layers' matrices: what quantization makes smaller."""
        return self.layers * self._attention() + self._feed_forward()

    def _attention(self) -> int:
        width, narrow = self.heads * self.head_dim, self.kv_heads * self.head_dim
        biases = width + 2 * narrow + self.hidden if self.biased else 0
        return 2 * self.hidden * width + 2 * self.hidden * narrow + biases

    def _feed_forward(self) -> int:
        """Of all layers: three matrices a network (gate, up, down), or two with biases; an expert layer's router."""
        if self.biased:
            return self.layers * (2 * self.hidden * self.ffn + self.ffn + self.hidden)
        if self.experts is None:
            return self.layers * 3 * self.hidden * self.ffn
        expert_layer = 3 * self.hidden * self.ffn * (self.experts.count + 1) + self.hidden * self.experts.count
        dense = (self.layers - self.experts.layers) * 3 * self.hidden * self.experts.dense_ffn
        return self.experts.layers * expert_layer + dense


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
    """Size of the weights, from the real file list where it is known."""
    source: dict[str, str]
    """`kind` picks the module in paddock_serving.weights.sources; the rest are its parameters."""
    revision: str | None = None
    files: tuple[WeightFile, ...] = ()
    basis: str = "files"
    """What `bytes` comes from: `files` (their list), `parameters` (counted, 16 bits each), or `estimate`."""
    compute_capability: int | None = None
    """Lowest that computes with these weights, where that is more than their precision asks for."""


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
    derived_from: tuple[str, ...] = ()
    """Families that it is a derivative of, besides its own."""
    active_parameters: int | None = None
    """How many parameters one token passes through, where that is fewer than all."""
    parameters_rounded: bool = False
    """True where the publisher gives a rounded total and not every dimension: then it cannot be recomputed."""
    plan_notes: tuple[str, ...] = ()
    """Sentences that every plan of it says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counterparty:
    """Who the licensor is, where that depends on the place of the licensee."""

    areas: tuple[str, ...]
    within: str
    """The licensor for entities established in one of these areas."""
    otherwise: str


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

    def has(self, canonical: str) -> bool:
        """True if these are the pinned words, or words found equal to them; `sha256:` may stand before the digest."""
        return canonical.removeprefix("sha256:") in (self.canonical, *self.equivalent_to)


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
    counterparty: Counterparty | None = None
    restrictions: str | None = None
    """Id of the list of forbidden uses, in our own words and with our own ids, that its use terms stand for."""

    def licensor_of(self, place: str) -> str:
        """The licensor of an entity whose principal place of business has this ISO 3166-1 alpha-2 code."""
        rule = self.counterparty
        if rule is None:
            return self.licensor
        return rule.within if place in countries(names=rule.areas) else rule.otherwise

    def text(self, role: str) -> TextPin | None:
        """The pin of the text in this role, or None where the license has no such text."""
        return next((pin for pin in self.texts if pin.role == role), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Restriction:
    """One forbidden use, in our own words. Its id is ours too: printed numbers change between versions."""

    id: str
    words: str
    licenses: tuple[str, ...] = ()
    """Licenses whose use terms have it; empty means all that refer to its list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restrictions:
    """A list of forbidden uses to which licenses refer."""

    id: str
    title: str
    items: tuple[Restriction, ...]
