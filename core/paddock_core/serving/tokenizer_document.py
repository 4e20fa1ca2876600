"""The tokenizer document: all that a gateway needs to turn messages into the model's own token ids.

It is built where a model's weights are prepared, from the model's own files, and published by digest: the
same files give the same bytes. So a gateway counts a prompt exactly before admission, without a second
download of a gated model.
"""

from dataclasses import dataclass

import msgspec

FORMAT = "paddock-tokenizer/v1"
MAX_BYTES = 64 * 1024 * 1024
"""Largest document that is published or read."""


class TokenizerDocumentError(ValueError):
    """The bytes are not a tokenizer document that this version reads. The message says what is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerDocument:
    """`tokenizer` is JSON of Hugging Face's tokenizers, `chat_template` the model's own Jinja template."""

    format: str = FORMAT
    tokenizer: str
    chat_template: str
    """Empty if the model has none (a base model: only plain completions make sense)."""
    bos_token: str | None
    eos_token: str | None
    stop_tokens: tuple[str, ...]
    """Tokens that end an answer, the eos token among them."""
    add_bos: bool
    """True if a plain prompt must begin with the bos token; a chat template usually writes its own."""


def encode_document(document: TokenizerDocument) -> bytes:
    """Give the canonical bytes, keys in the order of the fields: equal documents have equal digests."""
    return msgspec.json.encode(document)


def decode_document(data: bytes) -> TokenizerDocument:
    """Read a document. Raises TokenizerDocumentError for anything but a complete one of a known format."""
    if len(data) > MAX_BYTES:
        raise TokenizerDocumentError(f"tokenizer document of {len(data)} bytes is larger than {MAX_BYTES}")
    try:
        document = msgspec.json.decode(data, type=TokenizerDocument)
    except msgspec.DecodeError as error:
        raise TokenizerDocumentError(f"not a tokenizer document: {error}") from error
    if document.format != FORMAT:
        message = f"tokenizer document has format {document.format!r}, this version reads {FORMAT!r}"
        raise TokenizerDocumentError(f"{message}: upgrade the reader")
    return document
