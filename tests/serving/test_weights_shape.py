"""Files are compared with the dimensions that they are registered as."""

import json
from pathlib import Path
from typing import Any

import pytest
from paddock_core.catalog.packaged import packaged_catalog
from paddock_serving.errors import WeightsMismatchError
from paddock_serving.weights.shape import Shape

LLAMA = {
    "num_hidden_layers": 16,
    "hidden_size": 2048,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 8192,
    "vocab_size": 128256,
}
BLOOM = {"model_type": "bloom", "n_layer": 70, "hidden_size": 14336, "num_attention_heads": 112, "vocab_size": 250880}
VISION = {
    **LLAMA,
    "num_hidden_layers": 40,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "cross_attention_layers": [3, 8, 13, 18, 23, 28, 33, 38],
}


def shape(model: str, *, parameters: int | None = None) -> Shape:
    entry = packaged_catalog().models[model]
    return Shape(dimensions=entry.dimensions, parameters=parameters or entry.parameters)


def configured(folder: Path, document: object) -> Path:
    (folder / "config.json").write_text(json.dumps(document))
    return folder


@pytest.mark.parametrize(
    ("model", "document"),
    [
        ("llama-3.2-1b-instruct", LLAMA),
        ("llama-3.2-1b-instruct", {**LLAMA, "vocab_size": 128264}),
        ("bloom-176b", BLOOM),
        ("llama-3.2-11b-vision-instruct", {"text_config": VISION}),
    ],
)
def test_a_configuration_of_the_same_dimensions_fits(tmp_path: Path, model: str, document: object) -> None:
    shape(model).check(configured(tmp_path, document), complete=False)


@pytest.mark.parametrize("name", [*LLAMA])
@pytest.mark.parametrize("change", [-1, 100_000])
def test_each_other_dimension_is_found(tmp_path: Path, name: str, change: int) -> None:
    with pytest.raises(WeightsMismatchError, match=r"config\.json says"):
        shape("llama-3.2-1b-instruct").check(
            configured(tmp_path, {**LLAMA, name: LLAMA[name] + change}), complete=False
        )


@pytest.mark.parametrize("document", [{}, [], {**LLAMA, "hidden_size": "2048"}])
def test_a_configuration_that_does_not_say_is_refused(tmp_path: Path, document: Any) -> None:
    with pytest.raises(WeightsMismatchError):
        shape("llama-3.2-1b-instruct").check(configured(tmp_path, document), complete=False)


def test_the_demonstration_model_fits_itself_and_no_other(tmp_path: Path, gguf_path: Path) -> None:
    (tmp_path / gguf_path.name).symlink_to(gguf_path)
    shape("smollm2-135m-instruct").check(tmp_path, complete=True)
    with pytest.raises(WeightsMismatchError, match="says layers 30"):
        shape("llama-3.2-1b-instruct").check(tmp_path, complete=True)
    with pytest.raises(WeightsMismatchError, match="no model of"):
        shape("smollm2-135m-instruct", parameters=10**10).check(tmp_path, complete=True)


@pytest.mark.parametrize("name", ["model.bin", "model.GGUF"])
def test_weights_that_no_engine_says_the_dimensions_of_are_refused(tmp_path: Path, name: str) -> None:
    (configured(tmp_path, LLAMA) / name).write_bytes(b"GGUF" * 100)
    with pytest.raises(WeightsMismatchError, match="0 bytes"):
        shape("llama-3.2-1b-instruct").check(tmp_path, complete=True)


def test_tensors_without_a_configuration_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"x")
    with pytest.raises(WeightsMismatchError, match=r"no config\.json"):
        shape("llama-3.2-1b-instruct").check(tmp_path, complete=True)
