"""The packaged catalogue holds together, and a broken file is refused with its name."""

import hashlib
from pathlib import Path

import pytest
from paddock_core.catalog.loader import CatalogError, load_catalog
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.licensing.texts import canonical_digest
from paddock_core.planning.memory import kv_bytes_per_token

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("model", packaged_catalog().models.values(), ids=lambda model: model.id)
def test_parameters_follow_from_the_dimensions(model):
    """Where the publisher rounds the total, the decoder alone must at least not be larger than it."""
    counted = model.dimensions.parameters()
    assert counted == model.parameters or (model.parameters_rounded and counted < model.parameters)


PUBLISHED = {
    # parameters, bytes of cache for a token, highest tensor size: section 6 of the facts, and the cards.
    "llama-7b": (6_738_415_616, 524_288, 16),
    "llama-13b": (13_015_864_320, 819_200, 8),
    "llama-33b": (32_528_943_616, 1_597_440, 4),
    "llama-65b": (65_285_660_672, 2_621_440, 16),
    "llama-2-7b-chat": (6_738_415_616, 524_288, 16),
    "llama-2-13b-chat": (13_015_864_320, 819_200, 8),
    "llama-2-70b-chat": (68_976_648_192, 327_680, 16),
    "code-llama-7b-instruct": (6_738_546_688, 524_288, 16),
    "code-llama-13b-instruct": (13_016_028_160, 819_200, 8),
    "code-llama-34b-instruct": (33_743_970_304, 196_608, 16),
    "code-llama-70b-instruct": (68_976_910_336, 327_680, 16),
    "llama-3-8b-instruct": (8_030_261_248, 131_072, 16),
    "llama-3-70b-instruct": (70_553_706_496, 327_680, 16),
    "llama-3.1-8b-instruct": (8_030_261_248, 131_072, 16),
    "llama-3.1-70b-instruct": (70_553_706_496, 327_680, 16),
    "llama-3.1-405b-instruct": (405_853_388_800, 516_096, 16),
    "llama-3.2-1b-instruct": (1_235_814_400, 32_768, 8),
    "llama-3.2-3b-instruct": (3_212_749_824, 114_688, 8),
    "llama-3.2-11b-vision-instruct": (10_670_000_000, 131_072, 8),
    "llama-3.2-90b-vision-instruct": (88_800_000_000, 327_680, 16),
    "llama-3.3-70b-instruct": (70_553_706_496, 327_680, 16),
    "llama-4-scout-17b-16e-instruct": (108_641_793_536, 196_608, 8),
    "llama-4-maverick-17b-128e-instruct": (401_583_781_376, 196_608, 8),
    "llama-guard-7b": (6_738_415_616, 524_288, 16),
    "llama-guard-2-8b": (8_030_261_248, 131_072, 16),
    "llama-guard-3-8b": (8_030_261_248, 131_072, 16),
    "llama-guard-3-1b": (1_235_814_400, 32_768, 8),
    "llama-guard-3-11b-vision": (10_670_000_000, 131_072, 8),
    "llama-guard-4-12b": (12_001_097_216, 196_608, 8),
    "bloom-176b": (176_247_271_424, 4_014_080, 16),
    "smollm2-135m-instruct": (134_515_008, 23_040, 1),
}


def test_every_published_size_is_there_and_no_other():
    found = {
        name: (model.parameters, kv_bytes_per_token(model.dimensions), model.max_tensor_parallel)
        for name, model in packaged_catalog().models.items()
    }
    assert found == PUBLISHED


def test_a_mark_stands_where_a_model_sees_images():
    seeing = {name for name, model in packaged_catalog().models.items() if "image" in model.modality}
    assert seeing == {
        "llama-3.2-11b-vision-instruct",
        "llama-3.2-90b-vision-instruct",
        "llama-4-scout-17b-16e-instruct",
        "llama-4-maverick-17b-128e-instruct",
        "llama-guard-3-11b-vision",
        "llama-guard-4-12b",
    }


def test_the_machines_own_copy_of_the_apache_license_is_the_pinned_one():
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    pin = packaged_catalog().licenses["apache-2.0"].text("agreement")
    assert pin is not None
    assert canonical_digest(text) == f"sha256:{pin.canonical}"


def test_a_license_that_refers_to_no_list_of_restrictions_is_refused():
    with pytest.raises(CatalogError, match="no list of restrictions"):
        load_catalog(models={}, licenses={"l.yaml": LICENSE.replace(b"texts:", b"restrictions: none, texts:")})


@pytest.mark.parametrize("model", packaged_catalog().models.values(), ids=lambda model: model.id)
def test_grouped_heads_divide(model):
    assert model.dimensions.heads % model.dimensions.kv_heads == 0


@pytest.mark.parametrize("role", ["agreement", "aup"])
def test_the_demonstration_texts_are_the_pinned_ones(role):
    name = {"agreement": "LICENSE", "aup": "USE_POLICY.md"}[role]
    text = (ROOT / "examples" / "licenses" / "paddock-demo" / name).read_bytes()
    pin = packaged_catalog().licenses["paddock-demo"].text(role)
    assert pin is not None
    assert hashlib.sha256(text).hexdigest() in pin.raw


def test_the_demonstration_model_is_not_labelled_as_a_release_of_meta():
    model = packaged_catalog().models["smollm2-135m-instruct"]
    assert model.licenses == ("paddock-demo",)
    assert "llama-" not in model.public_name.lower()


MODEL = b"""
id: m
title: M
public_name: M
family: m
architecture: LlamaForCausalLM
parameters: 1
dimensions: {layers: 1, hidden: 1, heads: 1, kv_heads: 1, head_dim: 1, ffn: 1, vocab: 1}
context_length: 1
licenses: [l]
default_engine: LlamaCpp
default_precision: q4_1
weights: {q4_1: {format: gguf, bytes: 1, source: {kind: local}}}
"""
LICENSE = b"{id: l, title: L, spdx: X, dated: '2026-01-01', licensor: us, texts: [], clauses: []}"


def test_a_sound_catalogue_loads():
    catalog = load_catalog(models={"m.yaml": MODEL}, licenses={"l.yaml": LICENSE})
    assert catalog.model("m") is not None
    assert catalog.model("other") is None


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ({"m.yaml": MODEL.replace(b"licenses: [l]", b"licenses: [other]")}, "missing: \\['other'\\]"),
        ({"m.yaml": MODEL.replace(b"licenses: [l]", b"licenses: []")}, "needs licenses"),
        ({"m.yaml": MODEL + b"surprise: 1\n"}, "m.yaml: unknown fields \\['surprise'\\]"),
        ({"m.yaml": MODEL.replace(b"context_length: 1", b"context_length: long")}, "m.yaml"),
        (
            {"m.yaml": MODEL.replace(b"default_precision: q4_1", b"default_precision: fp8")},
            "no weights in its default precision",
        ),
        ({"a.yaml": MODEL, "b.yaml": MODEL}, "id m is there twice"),
        ({"m.yaml": b"- a list"}, "expected a mapping"),
        ({"m.yaml": b"{"}, "not YAML"),
    ],
)
def test_a_broken_file_is_refused(models, message):
    with pytest.raises(CatalogError, match=message):
        load_catalog(models=models, licenses={"l.yaml": LICENSE})


TEXTS = ROOT.parent / "shared" / "license-texts"
FOLDERS = {"llama1", "llama2", "llama3", "llama3.1", "llama3.2", "llama3.3", "llama4"}


@pytest.mark.skipif(
    not TEXTS.is_dir(), reason="the licensors' texts are not beside this checkout; digests stay as pinned"
)
@pytest.mark.parametrize("folder", sorted(FOLDERS | {"bloom", "llama-guard-1", "llama-guard-4", "llama2-alt-bytes"}))
def test_the_pins_are_those_of_the_licensors_texts(folder):
    license_id = {
        "bloom": "bigscience-bloom-rail-1.0",
        "llama-guard-1": "llama2",
        "llama2-alt-bytes": "llama2",
        "llama-guard-4": "llama4",
    }.get(folder, folder)
    license_entry = packaged_catalog().licenses[license_id]
    for name, role in (("LICENSE", "agreement"), ("USE_POLICY.md", "aup")):
        file = TEXTS / folder / name
        if file.is_file():
            pin = license_entry.text(role)
            assert pin is not None
            assert canonical_digest(file.read_text(encoding="utf-8-sig")).removeprefix("sha256:") in {
                pin.canonical,
                *pin.equivalent_to,
            }
            if folder in FOLDERS | {"bloom"}:
                assert hashlib.sha256(file.read_bytes()).hexdigest() in pin.raw
