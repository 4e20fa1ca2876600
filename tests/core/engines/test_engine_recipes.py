"""Keys and recipes of engines: what changes a key, which commands make what, what cannot be made."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from paddock_core.engines.errors import EngineRequestError
from paddock_core.engines.marker import Marker, Runtime, mismatch
from paddock_core.engines.recipe import Folders, placed, recipe
from paddock_core.engines.request import CHECKPOINT_FIELDS, EngineRequest, decode, encode

BASE = EngineRequest(
    weights="w" * 64,
    architecture="LlamaForCausalLM",
    checkpoint_precision="bf16",
    precision="bf16",
    kv_precision="bf16",
    tensor_parallel=4,
    pipeline_parallel=1,
    image="registry.example/serving:26.07@sha256:" + "a" * 64,
    tensorrt_llm="1.2.1",
    tensorrt="10.14.1.48",
    gpu="H100-80",
    gpu_memory=80 * 1024**3,
    compute_capability=90,
    max_batch_size=64,
    max_num_tokens=8192,
    max_input_len=4096,
    max_seq_len=8192,
)
OTHER: dict[str, Any] = {
    "weights": "x" * 64,
    "architecture": "BloomForCausalLM",
    "checkpoint_precision": "fp8",
    "precision": "fp16",
    "kv_precision": "fp8",
    "tensor_parallel": 8,
    "pipeline_parallel": 2,
    "context_parallel": 2,
    "image": "registry.example/serving:26.07@sha256:" + "b" * 64,
    "tensorrt_llm": "1.2.0",
    "tensorrt": "10.14.1.49",
    "gpu": "H200-141",
    "gpu_memory": 141 * 1024**3,
    "compute_capability": 89,
    "max_batch_size": 65,
    "max_num_tokens": 4096,
    "max_input_len": 2048,
    "max_seq_len": 4096,
    "max_beam_width": 2,
    "lora": True,
    "speculative_decoding": "medusa",
}
FOLDERS = Folders(weights="/w", checkpoint="/c", engine="/e", calibration="/set")


def changed(**fields: Any) -> EngineRequest:
    return msgspec.structs.replace(BASE, **fields)


def test_each_architecture_has_its_own_converter() -> None:
    llama, bloom = recipe(BASE).checkpoint, recipe(changed(architecture="BloomForCausalLM")).checkpoint
    assert (llama[1] != bloom[1], llama[2:] == bloom[2:]) == (True, True)
    with pytest.raises(EngineRequestError, match="no engine is compiled of"):
        recipe(changed(architecture="MllamaForConditionalGeneration"))


def test_other_values_are_given_for_every_field() -> None:
    assert set(OTHER) == set(BASE.__struct_fields__)


@pytest.mark.parametrize("field", sorted(set(OTHER) - {"checkpoint_precision"}))
def test_every_field_is_in_the_key(field: str) -> None:
    before, after = recipe(BASE), recipe(changed(**{field: OTHER[field]}))
    assert before.engine_key != after.engine_key
    assert (before.checkpoint_key != after.checkpoint_key) == (field in CHECKPOINT_FIELDS)


@given(st.sets(st.sampled_from(sorted(set(OTHER) - {"checkpoint_precision"}))))
def test_keys_are_equal_exactly_where_requests_are(fields: set[str]) -> None:
    one, other = recipe(BASE), recipe(changed(**{field: OTHER[field] for field in fields}))
    assert (one.engine_key == other.engine_key) == (not fields)
    assert (one.checkpoint_key == other.checkpoint_key) == (not fields & set(CHECKPOINT_FIELDS))


def test_a_request_survives_the_environment_of_a_job() -> None:
    assert decode(encode(BASE)) == BASE
    assert recipe(decode(encode(BASE))) == recipe(BASE)
    with pytest.raises(EngineRequestError, match="the operator writes it"):
        decode("{}")


def test_bf16_is_converted_and_built() -> None:
    made = recipe(BASE)
    assert not made.quantizes
    convert, build = placed(made.checkpoint, FOLDERS), placed(made.engine, FOLDERS)
    assert convert[:2] == ["python3", "/app/examples/models/core/llama/convert_checkpoint.py"]
    assert _option(convert, "--model_dir") == "/w"
    assert _option(convert, "--output_dir") == _option(build, "--checkpoint_dir") == "/c"
    assert (_option(convert, "--tp_size"), _option(convert, "--pp_size")) == ("4", "1")
    assert build[0] == "trtllm-build"
    assert _option(build, "--output_dir") == "/e"
    limits = ("--max_batch_size", "--max_num_tokens", "--max_input_len", "--max_seq_len", "--max_beam_width")
    assert [_option(build, name) for name in limits] == ["64", "8192", "4096", "8192", "1"]
    assert _option(build, "--reduce_fusion") == "enable"
    assert not [word for word in (*convert, *build) if "{" in word]


def test_reductions_are_fused_only_where_there_are_some() -> None:
    assert "--reduce_fusion" not in recipe(changed(tensor_parallel=1)).engine


def test_a_quantised_checkpoint_is_converted_as_it_is() -> None:
    made = recipe(changed(checkpoint_precision="fp8", precision="fp8"))
    assert not made.quantizes
    assert _option(made.engine, "--gemm_plugin") == "disable"


@pytest.mark.parametrize(("precision", "qformat"), [("fp8", "fp8"), ("int4-awq", "int4_awq"), ("nvfp4", "nvfp4")])
def test_fewer_bits_than_the_checkpoint_has_are_calibrated(precision: str, qformat: str) -> None:
    made = recipe(changed(precision=precision))
    command = placed(made.checkpoint, FOLDERS)
    assert made.quantizes
    assert command[1] == "/app/examples/quantization/quantize.py"
    assert (_option(command, "--qformat"), _option(command, "--calib_dataset")) == (qformat, "/set")
    assert _option(command, "--calib_size") == "512"


def test_an_fp8_cache_is_calibrated_whatever_the_weights_are() -> None:
    made = recipe(changed(kv_precision="fp8"))
    assert _option(made.checkpoint, "--kv_cache_dtype") == "fp8"
    assert _option(made.checkpoint, "--qformat") == "full_prec"
    assert _option(made.engine, "--use_fp8_context_fmha") == "enable"
    both = recipe(changed(precision="fp8", kv_precision="fp8"))
    assert (_option(both.checkpoint, "--qformat"), _option(both.checkpoint, "--kv_cache_dtype")) == ("fp8", "fp8")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"precision": "int3"}, "it is one of bf16"),
        ({"kv_precision": "int3"}, "key-value cache int3"),
        ({"checkpoint_precision": "fp8"}, "choose an unquantised checkpoint"),
        ({"checkpoint_precision": "fp8", "precision": "fp8", "kv_precision": "fp8"}, "with a bf16 cache"),
    ],
)
def test_what_cannot_be_made_says_what_can(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(EngineRequestError, match=words):
        recipe(changed(**fields))


RUNTIME = Runtime(tensorrt_llm="1.2.1", tensorrt="10.14.1.48", compute_capability=90, gpu="NVIDIA H100")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, None),
        ({"gpu": "NVIDIA H200"}, None),
        ({"tensorrt": "10.14.1.49"}, "built with TensorRT 10.14.1.48, here is 10.14.1.49"),
        ({"tensorrt_llm": "1.2.0"}, "built with TensorRT-LLM 1.2.1, here is 1.2.0"),
        ({"compute_capability": 89}, "compute capability 9.0, here is 8.9"),
    ],
)
def test_an_engine_loads_only_where_it_was_built_for(fields: dict[str, Any], words: str | None) -> None:
    marker = Marker(key="k", request=BASE, runtime=RUNTIME, files={"rank0.engine": 1})
    found = mismatch(marker, msgspec.structs.replace(RUNTIME, **fields))
    assert (found is None) if words is None else (found is not None and words in found)


def _option(command: tuple[str, ...] | list[str], name: str) -> str:
    return command[command.index(name) + 1]
