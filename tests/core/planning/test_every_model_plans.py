"""Every model of the catalogue can be planned, with numbers that are plausible."""

import pytest
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.catalog.types import ModelEntry
from paddock_core.planning.constants import table
from paddock_core.planning.fit import plan
from paddock_core.planning.gpus import hypothetical
from paddock_core.planning.memory import weights_from_parameters
from paddock_core.planning.table import NO_PLAN, on_gpus, rows
from paddock_core.planning.types import Ask, Engine, Inventory, Plan

MODELS = packaged_catalog().models
ASKED = {
    "llama-7b", "llama-13b", "llama-33b", "llama-65b",
    "llama-2-7b-chat", "llama-2-13b-chat", "llama-2-70b-chat",
    "llama-3-8b-instruct", "llama-3-70b-instruct",
    "llama-3.1-8b-instruct", "llama-3.1-70b-instruct", "llama-3.1-405b-instruct",
    "llama-3.2-1b-instruct", "llama-3.2-3b-instruct",
    "llama-3.2-11b-vision-instruct", "llama-3.2-90b-vision-instruct", "llama-3.3-70b-instruct",
    "llama-4-scout-17b-16e-instruct", "llama-4-maverick-17b-128e-instruct",
    "llama-guard-7b", "llama-guard-2-8b", "llama-guard-3-1b", "llama-guard-3-8b", "llama-guard-3-11b-vision",
    "llama-guard-4-12b", "bloom-176b",
}  # fmt: skip


def test_every_model_that_was_asked_for_is_in_the_catalogue() -> None:
    assert set(MODELS) >= ASKED


@pytest.mark.parametrize("model", sorted(MODELS))
def test_it_plans_where_its_engine_runs(model: str) -> None:
    entry = MODELS[model]
    on_cpu = entry.default_engine == Engine.LLAMA_CPP
    answer = plan(model=entry, ask=Ask(), inventory=Inventory() if on_cpu else hypothetical(gpu="H200-141"))
    assert isinstance(answer, Plan), answer
    assert table().engines[answer.engine].runs(entry.architecture)
    assert answer.gpus <= 8
    if not on_cpu:
        whole = answer.per_gpu.weights * answer.gpus
        assert answer.weights_bytes <= whole <= answer.weights_bytes * 1.05
        assert answer.per_gpu.kv_cache * answer.gpus >= answer.kv_cache_bytes
        assert answer.context_length == min(entry.context_length, 8192)


@pytest.mark.parametrize("model", on_gpus(MODELS), ids=lambda model: model.id)
def test_it_plans_at_its_whole_context_on_many_gpus(model: ModelEntry) -> None:
    ask = Ask(context_length=model.context_length, max_concurrency=1)
    answer = plan(model=model, ask=ask, inventory=hypothetical(gpu="B200-180"))
    assert isinstance(answer, Plan), answer
    assert answer.kv_tokens >= model.context_length


@pytest.mark.parametrize("model", on_gpus(MODELS), ids=lambda model: model.id)
def test_sizes_that_are_counted_are_counted_right(model: ModelEntry) -> None:
    for precision, weights in model.weights.items():
        assert weights.basis in {"files", "parameters"}, "the catalogue holds no guesses"
        if weights.basis == "parameters":
            each = table().precisions[precision].bytes
            assert weights.bytes == weights_from_parameters(model, bytes_each=each)
        else:
            assert weights.bytes >= 2 * model.parameters or precision not in {"bf16", "fp16"}


def test_the_table_has_a_plan_on_every_large_gpu() -> None:
    for name, _, *cells in rows(MODELS):
        assert NO_PLAN not in cells[-3:], name
