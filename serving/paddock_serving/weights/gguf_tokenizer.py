"""From the metadata of a GGUF file to a tokenizer of Hugging Face's library that gives the same ids as llama.cpp.

Only byte-level BPE is translated, for the pre-tokenizers below: a wrong split would give wrong counts silently, so an
unknown one is refused.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from paddock_core.serving.tokenizer_document import TokenizerDocument
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

from paddock_serving.errors import TokenizerError
from paddock_serving.weights.gguf import read_metadata

_CONTROL: Final = 3
_USER_DEFINED: Final = 4
_STOP_KEYS: Final = ("eos_token_id", "eot_token_id", "eom_token_id")
_LLAMA3_SPLIT: Final = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scheme:
    """How a text is cut before byte-pair merging, and llama.cpp's defaults for files that do not say."""

    digits_alone: bool = False
    split: str | None = None
    """None means GPT-2's split, which is built into the byte-level step."""
    ignore_merges: bool = False
    """True if a piece that is a whole token is taken as it is, without merging."""
    add_bos: bool = False

    def pre_tokenizer(self) -> Any:
        steps: list[Any] = [pre_tokenizers.Digits(individual_digits=True)] if self.digits_alone else []
        if self.split is not None:
            steps.append(pre_tokenizers.Split(Regex(self.split), behavior="isolated"))
        steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=self.split is None))
        return pre_tokenizers.Sequence(steps)


_LLAMA3: Final = _Scheme(split=_LLAMA3_SPLIT, ignore_merges=True, add_bos=True)
SCHEMES: Final = {
    "smollm": _Scheme(digits_alone=True),
    "gpt-2": _Scheme(),
    "llama-bpe": _LLAMA3,
    "llama3": _LLAMA3,
    "llama-v3": _LLAMA3,
}
"""Value of `tokenizer.ggml.pre` to the scheme."""


def read_gguf(path: Path) -> TokenizerDocument:
    """Read the tokenizer document. Raises TokenizerError for a kind that cannot be translated exactly."""
    metadata = read_metadata(path)
    kind, pre = metadata.get("tokenizer.ggml.model"), metadata.get("tokenizer.ggml.pre")
    if kind != "gpt2" or pre not in SCHEMES:
        raise TokenizerError(
            f"{path.name}: tokenizer {kind!r} with pre-tokenizer {pre!r} cannot be translated exactly "
            f"(known: gpt2 with {', '.join(SCHEMES)}). Use a checkpoint with a tokenizer.json, or add the scheme "
            "to gguf_tokenizer.py"
        )
    scheme = SCHEMES[pre]
    tokens: list[str] = metadata["tokenizer.ggml.tokens"]
    stops = [tokens[metadata[key]] for name in _STOP_KEYS if (key := f"tokenizer.ggml.{name}") in metadata]
    bos = metadata.get("tokenizer.ggml.bos_token_id")
    eos = metadata.get("tokenizer.ggml.eos_token_id")
    return TokenizerDocument(
        tokenizer=_build(metadata, tokens, scheme).to_str(),
        chat_template=str(metadata.get("tokenizer.chat_template", "")),
        bos_token=None if bos is None else tokens[bos],
        eos_token=None if eos is None else tokens[eos],
        stop_tokens=tuple(dict.fromkeys(stops)),
        add_bos=bool(metadata.get("tokenizer.ggml.add_bos_token", scheme.add_bos)),
    )


def _build(metadata: dict[str, Any], tokens: list[str], scheme: _Scheme) -> Tokenizer:
    merges = [tuple(pair.split(" ", 1)) for pair in metadata["tokenizer.ggml.merges"]]
    model = models.BPE(
        vocab={token: index for index, token in enumerate(tokens)},
        merges=merges,
        ignore_merges=scheme.ignore_merges,
        fuse_unk=False,
    )
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = scheme.pre_tokenizer()
    tokenizer.decoder = decoders.ByteLevel()
    types = metadata["tokenizer.ggml.token_type"]
    added = [
        AddedToken(token, special=kind == _CONTROL, normalized=False)
        for token, kind in zip(tokens, types, strict=True)
        if kind in (_CONTROL, _USER_DEFINED)
    ]
    tokenizer.add_tokens(added)
    return tokenizer
