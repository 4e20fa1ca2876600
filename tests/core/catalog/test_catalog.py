"""The packaged catalogue holds together, and a broken file is refused with its name."""

import hashlib
from pathlib import Path

import pytest
from paddock_core.catalog.loader import CatalogError, load_catalog
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.licensing.texts import canonical_digest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("model", packaged_catalog().models.values(), ids=lambda model: model.id)
def test_parameters_follow_from_the_dimensions(model):
    assert model.dimensions.parameters() == model.parameters


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
