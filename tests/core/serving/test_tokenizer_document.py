import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paddock_core.serving.tokenizer_document import (
    TokenizerDocument,
    TokenizerDocumentError,
    decode_document,
    encode_document,
)

texts = st.text(max_size=40)
documents = st.builds(
    TokenizerDocument,
    tokenizer=texts,
    chat_template=texts,
    bos_token=st.none() | texts,
    eos_token=st.none() | texts,
    stop_tokens=st.lists(texts, max_size=3).map(tuple),
    add_bos=st.booleans(),
)


@given(documents)
def test_a_document_survives_the_wire_byte_for_byte(document: TokenizerDocument) -> None:
    data = encode_document(document)
    assert decode_document(data) == document
    assert encode_document(decode_document(data)) == data


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"format":"paddock-tokenizer/v1"}', b"\xff"])
def test_what_is_not_a_whole_document_is_refused(data: bytes) -> None:
    with pytest.raises(TokenizerDocumentError, match="not a tokenizer document"):
        decode_document(data)


def test_a_later_format_is_refused_with_advice() -> None:
    document = TokenizerDocument(
        tokenizer="{}", chat_template="", bos_token=None, eos_token=None, stop_tokens=(), add_bos=False
    )
    later = msgspec.json.decode(encode_document(document)) | {"format": "paddock-tokenizer/v2"}
    with pytest.raises(TokenizerDocumentError, match="upgrade the reader"):
        decode_document(msgspec.json.encode(later))
