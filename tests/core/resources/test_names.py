"""Names of what the operator creates."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.resources import names

NAMES = st.from_regex(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?", fullmatch=True)


@given(first=st.tuples(NAMES, NAMES), second=st.tuples(NAMES, NAMES))
def test_serving_names_differ_as_their_deployments_do(first: tuple[str, str], second: tuple[str, str]) -> None:
    one = names.serving_name(namespace=first[0], name=first[1])
    two = names.serving_name(namespace=second[0], name=second[1])
    assert (one == two) is (first == second)
    assert len(one) <= 49


def test_another_model_with_the_same_one_file_has_a_job_of_its_own() -> None:
    model = packaged_catalog().models["smollm2-135m-instruct"]
    digest = names.model_digest(model, precision="q4_1")
    assert digest != names.model_digest(replace(model, id="demo-acme"), precision="q4_1")
    assert names.weights_job_name(digest) == f"weights-{digest[:12]}"
    path = names.weights_path(model, precision="q4_1", weights="w")
    assert path == "/weights/w/SmolLM2-135M-Instruct.Q4_1.gguf"


def test_other_files_of_the_same_model_are_named_otherwise_and_the_same_ones_alike() -> None:
    model = packaged_catalog().models["smollm2-135m-instruct"]
    former = names.model_digest(model, precision="q4_1")
    other = replace(model, weights={**model.weights, "q4_1": replace(model.weights["q4_1"], bytes=1)})
    assert names.model_digest(other, precision="q4_1") != former
    assert names.model_digest(model, precision="q4_1") == former


def test_sets_of_files_are_named_by_their_description() -> None:
    model = packaged_catalog().models["llama-3.1-405b-instruct"]
    digests = {names.model_digest(model, precision=precision) for precision in model.weights}
    assert len(digests) == len(model.weights)
    assert all(len(digest) == 64 for digest in digests)
    assert names.weights_path(model, precision="bf16", weights="w") == "/weights/w"
