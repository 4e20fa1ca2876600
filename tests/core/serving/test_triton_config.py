"""The rendered model repository, read by Triton's own protobuf and by Python."""

import ast
from dataclasses import replace

import yaml
from google.protobuf import text_format
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.planning.fit import plan
from paddock_core.planning.gpus import hypothetical
from paddock_core.planning.types import Ask, Inventory, Plan
from paddock_core.serving import contract
from paddock_core.serving.triton_config import config_pbtxt, model_py, model_yaml, repository_files
from tritonclient.grpc import model_config_pb2


def made(model: str, inventory: Inventory) -> Plan:
    answer = plan(model=packaged_catalog().models[model], ask=Ask(), inventory=inventory)
    assert isinstance(answer, Plan)
    return answer


def test_configuration_is_what_triton_parses() -> None:
    parsed = text_format.Parse(config_pbtxt(), model_config_pb2.ModelConfig())
    assert parsed.name == contract.MODEL_NAME
    assert parsed.backend == "python"
    assert parsed.max_batch_size == 0
    assert parsed.model_transaction_policy.decoupled is True
    assert [group.count for group in parsed.instance_group] == [1]
    inputs = {tensor.name: tensor for tensor in parsed.input}
    assert all(tensor.optional for tensor in inputs.values())
    assert inputs[contract.INPUT_IDS].data_type == model_config_pb2.TYPE_INT32
    assert list(inputs[contract.INPUT_IDS].dims) == [-1]
    assert inputs[contract.SEED].data_type == model_config_pb2.TYPE_UINT64
    assert list(inputs[contract.MAX_TOKENS].dims) == [1]
    outputs = [tensor.name for tensor in parsed.output]
    assert outputs == [
        contract.TEXT_OUTPUT,
        contract.FINISH_REASON,
        contract.NUM_INPUT_TOKENS,
        contract.NUM_OUTPUT_TOKENS,
    ]


def test_every_input_of_the_contract_is_declared() -> None:
    parsed = text_format.Parse(config_pbtxt(), model_config_pb2.ModelConfig())
    declared = {tensor.name for tensor in parsed.input}
    of_contract = {
        contract.INPUT_IDS,
        contract.TEXT_INPUT,
        contract.STREAMING,
        contract.STOP,
        contract.MAX_TOKENS,
        contract.TOP_K,
        contract.TEMPERATURE,
        contract.TOP_P,
        contract.FREQUENCY_PENALTY,
        contract.PRESENCE_PENALTY,
        contract.SEED,
        contract.STOP_WORDS,
    }
    assert of_contract <= declared


def test_model_yaml_carries_the_plan() -> None:
    cpu = yaml.safe_load(model_yaml(made("smollm2-135m-instruct", Inventory()), model_path="/weights/x/y.gguf"))
    assert cpu["engine"] == "llamacpp"
    assert cpu["model"] == "/weights/x/y.gguf"
    assert cpu["triton_config"]["decoupled"] is True
    gpu = yaml.safe_load(
        model_yaml(made("llama-3.1-405b-instruct", hypothetical(gpu="H200-141")), model_path="/weights/z")
    )
    assert (gpu["engine"], gpu["backend"], gpu["tensor_parallel_size"]) == ("llmapi", "pytorch", 8)
    assert gpu["context_length"] == gpu["max_seq_len"] == 8192
    assert (gpu["gpus_per_node"], gpu["kv_cache_config"]["dtype"]) == (8, "auto")
    answer = made("llama-3.1-405b-instruct", hypothetical(gpu="H200-141"))
    assert (gpu["max_batch_size"], gpu["max_num_tokens"]) == (answer.max_batch_size, answer.max_num_tokens)
    smaller = replace(answer, kv_precision="fp8", max_num_tokens=2048)
    assert yaml.safe_load(model_yaml(smaller, model_path="/weights/z"))["kv_cache_config"]["dtype"] == "fp8"
    assert yaml.safe_load(model_yaml(smaller, model_path="/weights/z"))["enable_chunked_prefill"] is True
    assert "max_num_tokens" not in cpu


def test_weights_that_are_cast_are_loaded_as_the_asked_type() -> None:
    entry, gpus = packaged_catalog().models["llama-3.1-8b-instruct"], hypothetical(gpu="H100-80")
    cases = (("fp16", "LLMAPI", "float16"), (None, "LLMAPI", None), ("fp16", "TensorRTEngine", None))
    for asked, engine, dtype in cases:
        answer = plan(model=entry, ask=Ask(precision=asked, engine=engine), inventory=gpus)
        assert isinstance(answer, Plan)
        assert yaml.safe_load(model_yaml(answer, model_path="/weights/x")).get("dtype") == dtype


def test_model_py_is_python_that_imports_the_entry() -> None:
    tree = ast.parse(model_py())
    imported = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert imported == ["paddock_serving.model"]


def test_repository_has_tritons_layout() -> None:
    files = repository_files(made("smollm2-135m-instruct", Inventory()), model_path="/weights/x/y.gguf")
    assert sorted(files) == ["tensorrt_llm/1/model.py", "tensorrt_llm/1/model.yaml", "tensorrt_llm/config.pbtxt"]
