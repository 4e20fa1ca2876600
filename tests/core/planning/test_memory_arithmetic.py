"""Sums of the planner: what is asked for is what is charged, on GPUs, on CPUs and of the host."""

import math

import pytest
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.planning import memory
from paddock_core.planning.fit import complete, needs, plan
from paddock_core.planning.gpus import hypothetical
from paddock_core.planning.need import Need
from paddock_core.planning.types import Ask, Inventory, Plan, Refusal

MODELS = packaged_catalog().models
WITH_IMAGES = sorted(
    name
    for name, model in MODELS.items()
    if memory.image_bytes_per_gpu_sequence(model.dimensions, tensor=1, pipeline=1) > 0
)
DEMO = "smollm2-135m-instruct"


def needs_of(model: str, *, gpu: str = "H100-80", **ask: int | None) -> list[Need]:
    wish = complete(model=MODELS[model], ask=Ask(**ask))  # type: ignore[arg-type]
    assert not isinstance(wish, Refusal)
    found = list(needs(wish, list(hypothetical(gpu=gpu).pools)))
    assert found
    return found


def planned(model: str, inventory: Inventory, **ask: int) -> Plan:
    answer = plan(model=MODELS[model], ask=Ask(**ask), inventory=inventory)  # type: ignore[arg-type]
    assert isinstance(answer, Plan), answer
    return answer


def test_some_model_reads_images() -> None:
    assert WITH_IMAGES


@pytest.mark.parametrize("model", [*WITH_IMAGES, "llama-3.1-8b-instruct", "llama-3.1-70b-instruct"])
class TestOnGpus:
    def test_as_many_tokens_as_fit_and_not_one_more(self, model: str) -> None:
        for need in needs_of(model, context_length=8192, max_concurrency=2):
            batch = need.wish.constants.max_batch
            images = need.per_image * (need.sequences if need.sequences < batch else batch)
            if need.for_cache < images or need.for_cache <= 0:
                assert need.kv_tokens == 0
                continue
            assert need.kv_tokens * need.per_token + images <= need.for_cache
            assert (need.kv_tokens + 1) * need.per_token + images > need.for_cache

    def test_where_not_even_the_weights_fit_no_sequence_does(self, model: str) -> None:
        for need in needs_of(model, context_length=8192, max_concurrency=2):
            if need.for_cache < 0:
                assert (need.sequences, need.kv_tokens) == (0, 0)
                assert need.for_cache == need.pool.gpu.memory - need.use.weights - need.use.activations - (
                    need.use.runtime
                ), "what lacks is told as it is"

    def test_a_copy_on_one_gpu_has_all_of_its_cache_there(self, model: str) -> None:
        (whole,) = [need for need in needs_of(model, context_length=8192, max_concurrency=3) if need.cut.gpus == 1]
        assert whole.kv_of_copy == whole.use.kv_cache

    @pytest.mark.parametrize("asked", [None, 1, 500])
    def test_buffers_are_for_as_many_at_once_as_are_asked_for(self, model: str, asked: int | None) -> None:
        need = needs_of(model, context_length=1024, max_concurrency=asked)[0]
        constants = need.wish.constants
        batch = max(constants.max_batch, constants.gpu_concurrency) if asked is None else asked
        expected = memory.activation_bytes(
            need.wish.model.dimensions, tensor=need.cut.tensor, batch=batch, constants=constants
        )
        assert need.use.activations == expected


def test_the_process_of_a_cpu_holds_weights_cache_buffers_and_itself() -> None:
    found = planned(DEMO, Inventory(), context_length=2048, max_concurrency=3)
    wish = complete(model=MODELS[DEMO], ask=Ask(context_length=2048, max_concurrency=3))
    assert not isinstance(wish, Refusal)
    use, constants = found.per_gpu, wish.constants
    assert found.kv_tokens == 2048 * 3
    cache = memory.kv_bytes_per_token(MODELS[DEMO].dimensions) * 2048 * 3
    assert (use.kv_cache, found.kv_cache_bytes) == (cache, cache)
    assert use.weights == found.weights_bytes == wish.weights
    assert use.activations == int(wish.weights * constants.cpu_compute_fraction)
    assert use.runtime == constants.cpu_process
    assert use.free == 0
    assert 0 <= found.memory_bytes - use.total < memory.MIB
    assert found.memory_bytes % memory.MIB == 0
    assert (found.tensor_parallel, found.pipeline_parallel, found.max_num_tokens) == (
        1,
        1,
        constants.max_batched_tokens,
    )
    assert found.explanation


@pytest.mark.parametrize("model", ["llama-3.1-8b-instruct", "llama-3.1-405b-instruct"])
def test_the_host_has_room_for_the_files_of_its_pod_and_cores_for_each_gpu(model: str) -> None:
    found = planned(model, hypothetical(gpu="H100-80"))
    wish = complete(model=MODELS[model], ask=Ask())
    assert not isinstance(wish, Refusal)
    constants = wish.constants
    assert found.cpu_millicores == found.gpus_per_pod * constants.gpu_millicores_per_gpu
    files = MODELS[model].weights[wish.checkpoint].bytes // found.pods_per_group
    host = max(int(files * constants.gpu_host_memory_fraction), constants.gpu_host_memory_min)
    assert found.memory_bytes == math.ceil(host / memory.MIB) * memory.MIB
    assert found.max_num_tokens == constants.max_batched_tokens
