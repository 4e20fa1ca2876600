"""Are these files a model of the dimensions that it is planned, licensed and named as?

A registration says what a model was made from; what was made from a model has its dimensions. The configuration of a
repository (`config.json`) and the metadata of a GGUF file say which they have, and the engines load no tensors of other
shapes. https://github.com/ggml-org/ggml/blob/master/docs/gguf.md has the keys of the latter.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from paddock_core.catalog.types import Dimensions

from paddock_serving.errors import TokenizerError, WeightsMismatchError
from paddock_serving.weights.gguf import read_metadata
from paddock_serving.weights.layout import CONFIGURATION

_MOST_NEW_TOKENS: Final = 1024
"""Fine-tunes add tokens of their own, and round the vocabulary up."""
_LEAST_BITS, _MOST_BITS = 1.0, 34.0
"""Bits a parameter in the smallest quantization, and in 32-bit floats with what lies around them."""
_MEND: Final = "register it under another id, with the base that it was made from"
_MOST_CONFIGURATION: Final = 16 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What is expected: the dimensions of the model's root in the catalogue, and how many parameters it has."""

    dimensions: Dimensions
    parameters: int

    @property
    def name(self) -> str:
        """Names what is expected, in hex: other dimensions have another name."""
        return hashlib.sha256(json.dumps([asdict(self.dimensions), self.parameters]).encode()).hexdigest()[:16]

    def check(self, folder: Path, *, complete: bool) -> None:
        """Compare with what a folder of files says; with the configuration alone where it is not `complete` yet.

        Raises WeightsMismatchError if it is another model's, or does not say.
        """
        gguf, tensors = sorted(folder.glob("*.gguf")), sorted(folder.glob("*.safetensors"))
        if (folder / CONFIGURATION).is_file():
            self._compare(_of_configuration(_configuration(folder)), CONFIGURATION)
        if not complete:
            return
        if tensors and not (folder / CONFIGURATION).is_file():
            raise WeightsMismatchError(f"there is no {CONFIGURATION} beside the weights: add it to the checkpoint")
        for path in gguf:
            self._compare_gguf(path)
        size = sum(path.stat().st_size for path in (*gguf, *tensors))
        if not _LEAST_BITS <= size * 8 / self.parameters <= _MOST_BITS:
            raise WeightsMismatchError(
                f"{size} bytes in files *.gguf and *.safetensors are no model of {self.parameters} parameters: {_MEND}"
            )

    def _compare_gguf(self, path: Path) -> None:
        try:
            metadata = read_metadata(path)
        except TokenizerError as error:
            raise WeightsMismatchError(str(error)) from error
        # Of a model in several files, only the first says what it is; a file that does not say is not loaded alone.
        if not metadata.get("split.no") or "general.architecture" in metadata:
            self._compare(_of_gguf(metadata), path.name)

    def _compare(self, found: Mapping[str, int | None], place: str) -> None:
        wanted = self._wanted()
        for name, value in found.items():
            most = wanted[name] + (_MOST_NEW_TOKENS if name == "vocab" else 0)
            if value is None or not wanted[name] <= value <= most:
                raise WeightsMismatchError(
                    f"{place} says {name} {value}, and what it is registered as made from has {wanted[name]}: {_MEND}"
                )

    def _wanted(self) -> dict[str, int]:
        size = self.dimensions
        named = {"layers": size.layers, "hidden": size.hidden, "heads": size.heads, "kv_heads": size.kv_heads}
        return {**named, "ffn": size.ffn, "vocab": size.vocab}


def _configuration(folder: Path) -> dict[str, Any]:
    path = folder / CONFIGURATION
    if path.stat().st_size > _MOST_CONFIGURATION:
        raise WeightsMismatchError(f"{CONFIGURATION} has more than {_MOST_CONFIGURATION} bytes: it is no configuration")
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise WeightsMismatchError(f"{CONFIGURATION} is not readable ({error}): fetch it again") from error
    if not isinstance(document, dict):
        raise WeightsMismatchError(f"{CONFIGURATION} holds no object: fetch the right one")
    return document


def _of_configuration(document: dict[str, Any]) -> dict[str, int | None]:
    """The dimensions of the decoder; of one with an encoder beside it they stand a level deeper."""
    inner = document.get("text_config")
    config = inner if isinstance(inner, dict) else document
    layers, heads = _first(config, "num_hidden_layers", "n_layer"), _first(config, "num_attention_heads", "n_head")
    crossed = config.get("cross_attention_layers")
    hidden = _first(config, "hidden_size", "n_embed")
    if layers is not None and isinstance(crossed, list):
        # These look at an image: they have no cache that grows with the text, and are not counted.
        layers -= len(crossed)
    ffn = _first(config, "intermediate_size")
    if ffn is None and config.get("model_type") == "bloom" and hidden is not None:
        ffn = 4 * hidden
    kv_heads = _first(config, "num_key_value_heads")
    return {
        "layers": layers,
        "hidden": hidden,
        "heads": heads,
        "kv_heads": heads if kv_heads is None else kv_heads,
        "ffn": ffn,
        "vocab": _first(config, "vocab_size"),
    }


def _of_gguf(metadata: Mapping[str, Any]) -> dict[str, int | None]:
    family = metadata.get("general.architecture")
    heads = _first(metadata, f"{family}.attention.head_count")
    kv_heads = _first(metadata, f"{family}.attention.head_count_kv")
    tokens = metadata.get("tokenizer.ggml.tokens")
    expert = _first(metadata, f"{family}.expert_feed_forward_length")
    return {
        "layers": _first(metadata, f"{family}.block_count"),
        "hidden": _first(metadata, f"{family}.embedding_length"),
        "heads": heads,
        "kv_heads": heads if kv_heads is None else kv_heads,
        "ffn": _first(metadata, f"{family}.feed_forward_length") if expert is None else expert,
        "vocab": len(tokens) if isinstance(tokens, list) else _first(metadata, f"{family}.vocab_size"),
    }


def _first(values: Mapping[str, Any], *names: str) -> int | None:
    """The first of these that is there as a number, or as the same number for every layer."""
    for name in names:
        value = values.get(name)
        if isinstance(value, list) and value and len(set(map(str, value))) == 1:
            value = value[0]
        if isinstance(value, int):
            return value
    return None
