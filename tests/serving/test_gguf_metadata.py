import struct
from pathlib import Path

import pytest
from gguf import GGUFReader, GGUFWriter
from paddock_serving.errors import TokenizerError
from paddock_serving.weights.gguf import read_metadata
from paddock_serving.weights.gguf_tokenizer import read_gguf


def test_the_metadata_is_what_the_gguf_package_reads(gguf_path: Path) -> None:
    fields = GGUFReader(gguf_path).fields
    theirs = {name: field.contents() for name, field in fields.items() if not name.startswith("GGUF.")}
    assert read_metadata(gguf_path) == theirs


def test_every_type_of_value_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    writer = GGUFWriter(path, "llama")
    writer.add_uint8("a", 200)
    writer.add_int16("b", -300)
    writer.add_float64("c", 1.5)
    writer.add_bool("d", True)
    writer.add_uint64("e", 1 << 40)
    writer.add_array("f", ["x", "ü"])
    writer.add_array("g", [1.5, 2.5])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    found = read_metadata(path)
    assert [found[key] for key in "abcdefg"] == [200, -300, 1.5, True, 1 << 40, ["x", "ü"], [1.5, 2.5]]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GGUF",
        b"GGML" + bytes(20),
        struct.pack("<4sIQQ", b"GGUF", 99, 0, 0),
        struct.pack("<4sIQQ", b"GGUF", 3, 0, 1 << 40),
        struct.pack("<4sIQQ", b"GGUF", 3, 0, 1) + struct.pack("<Q", 1 << 60),
        struct.pack("<4sIQQQ", b"GGUF", 3, 0, 1, 1) + b"k" + struct.pack("<I", 77),
        struct.pack("<4sIQQQ", b"GGUF", 3, 0, 1, 1) + b"k" + struct.pack("<IIQ", 9, 4, 1 << 50),
        struct.pack("<4sIQQQ", b"GGUF", 3, 0, 1, 1) + b"k" + struct.pack("<IIQ", 9, 9, 1) * 5000,
    ],
)
def test_a_broken_file_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(data)
    with pytest.raises(TokenizerError, match="not a readable GGUF file"):
        read_metadata(path)


@pytest.mark.parametrize(("model", "pre"), [("llama", "default"), ("gpt2", "qwen2"), ("bert", "")])
def test_an_unknown_tokenizer_is_refused_with_advice(tmp_path: Path, model: str, pre: str) -> None:
    path = tmp_path / "x.gguf"
    writer = GGUFWriter(path, "llama")
    writer.add_tokenizer_model(model)
    writer.add_tokenizer_pre(pre)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(TokenizerError, match="cannot be translated exactly"):
        read_gguf(path)


def test_the_demonstration_models_tokenizer(gguf_path: Path) -> None:
    document = read_gguf(gguf_path)
    assert (document.bos_token, document.eos_token) == ("<|im_start|>", "<|im_end|>")
    assert document.stop_tokens == ("<|im_end|>",)
    assert not document.add_bos
    assert "<|im_start|>" in document.chat_template
    assert read_gguf(gguf_path) == document


def test_llama_3s_split_keeps_three_digits_and_takes_whole_tokens(tmp_path: Path) -> None:
    path = tmp_path / "llama3.gguf"
    writer = GGUFWriter(path, "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe")
    tokens = ["<|begin_of_text|>", "<|eot_id|>", "1", "2", "3", "4", "12", "123", "a", "Ġ", "Ġa", "'", "s", "'s"]
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3] + [1] * 12)
    writer.add_token_merges(["1 2", "Ġ a", "' s"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    from tokenizers import Tokenizer

    document = read_gguf(path)
    encoded = Tokenizer.from_str(document.tokenizer).encode("1234 a's<|eot_id|>", add_special_tokens=False)
    # "123" is a token although no merge leads to it, as in Llama 3; four digits are cut after the third.
    assert encoded.tokens == ["123", "4", "Ġa", "'s", "<|eot_id|>"]
    assert document.add_bos
