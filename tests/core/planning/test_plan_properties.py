"""What holds of every plan: it fits, it is minimal, stable and total, and more memory never asks for more GPUs."""

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.planning.fit import CONSTANTS, needs, plan, supports, wanted
from paddock_core.planning.gpus import gpu_table, hypothetical
from paddock_core.planning.types import Ask, Engine, Inventory, NodePool, Plan, Refusal
from paddock_core.planning.wish import Wish, complete, with_estimates

MODELS = {name: with_estimates(model) for name, model in packaged_catalog().models.items()}
GPU_MODELS = sorted(name for name, model in MODELS.items() if model.default_engine != Engine.LLAMA_CPP)
PRECISIONS = (None, "bf16", "fp16", "fp8", "int4-awq", "nvfp4")

asks = st.builds(
    Ask,
    precision=st.sampled_from(PRECISIONS),
    kv_precision=st.sampled_from((None, "bf16", "fp8")),
    context_length=st.none() | st.integers(1, 200_000),
    max_concurrency=st.none() | st.integers(1, 600),
)
pools = st.builds(
    NodePool,
    gpu=st.sampled_from([gpu_table()[name] for name in sorted(gpu_table())]),
    gpus_per_node=st.sampled_from((1, 2, 3, 4, 7, 8, 16)),
    nodes=st.integers(1, 9),
)
inventories = st.lists(pools, min_size=1, max_size=4).map(lambda found: Inventory(pools=tuple(found)))


def wish_of(model: str, ask: Ask) -> Wish | None:
    wish = complete(model=MODELS[model], ask=ask, constants=CONSTANTS)
    return None if isinstance(wish, Refusal) else wish


@settings(max_examples=120, deadline=None)
@given(model=st.sampled_from(GPU_MODELS), ask=asks, inventory=inventories)
def test_a_plan_fits_and_no_smaller_cut_does(model: str, ask: Ask, inventory: Inventory) -> None:
    answer = plan(model=MODELS[model], ask=ask, inventory=inventory)
    wish = wish_of(model, ask)
    if wish is None:
        assert isinstance(answer, Refusal)
        return
    allowed = wanted(wish, inventory)
    assert isinstance(allowed, list)
    fitting = [need for need in needs(wish, allowed) if need.shortfall <= 0]
    if isinstance(answer, Refusal):
        assert fitting == []
        assert (
            answer.shortfall_bytes > 0
            or not any(supports(pool, wish) for pool in allowed)
            or not list(needs(wish, allowed))
        )
        assert len(answer.alternatives) <= 2
        return
    assert min(need.cut.gpus for need in fitting) == answer.gpus
    _holds_together(answer, wish, inventory)


def _holds_together(answer: Plan, wish: Wish, inventory: Inventory) -> None:
    use = answer.per_gpu
    assert use.free >= 0
    assert answer.kv_tokens >= answer.context_length * answer.max_concurrency
    assert answer.max_sequences >= answer.max_concurrency
    assert answer.max_batch_size <= answer.max_sequences
    assert wish.model.dimensions.heads % answer.tensor_parallel == 0
    assert (
        answer.gpus == answer.tensor_parallel * answer.pipeline_parallel == answer.gpus_per_pod * answer.pods_per_group
    )
    homes = [pool for pool in inventory.pools if pool.gpu.id == answer.gpu and pool.nodes >= answer.pods_per_group]
    assert any(pool.gpus_per_node >= answer.gpus_per_pod for pool in homes)
    assert use.weights * answer.gpus >= answer.weights_bytes


@settings(max_examples=80, deadline=None)
@given(model=st.sampled_from(GPU_MODELS), ask=asks, inventory=inventories, data=st.data())
def test_the_order_of_pools_does_not_matter(model: str, ask: Ask, inventory: Inventory, data: Any) -> None:
    shuffled = Inventory(pools=tuple(data.draw(st.permutations(inventory.pools))))
    first = plan(model=MODELS[model], ask=ask, inventory=inventory)
    assert plan(model=MODELS[model], ask=ask, inventory=shuffled) == first


@settings(max_examples=80, deadline=None)
@given(model=st.sampled_from(GPU_MODELS), ask=asks, pool=pools, percent=st.integers(100, 400))
def test_more_memory_never_asks_for_more_gpus(model: str, ask: Ask, pool: NodePool, percent: int) -> None:
    larger = replace(pool, gpu=replace(pool.gpu, memory=pool.gpu.memory * percent // 100))
    before = plan(model=MODELS[model], ask=ask, inventory=Inventory(pools=(pool,)))
    after = plan(model=MODELS[model], ask=ask, inventory=Inventory(pools=(larger,)))
    if isinstance(before, Plan):
        assert isinstance(after, Plan)
        assert after.gpus <= before.gpus
        assert after.gpus < before.gpus or after.kv_tokens >= before.kv_tokens


@settings(max_examples=80, deadline=None)
@given(model=st.sampled_from(GPU_MODELS), ask=asks, pool=pools)
def test_a_lighter_load_never_asks_for_more_gpus(model: str, ask: Ask, pool: NodePool) -> None:
    inventory = Inventory(pools=(pool,))
    heavy = plan(model=MODELS[model], ask=ask, inventory=inventory)
    if isinstance(heavy, Plan):
        half = replace(ask, max_concurrency=max(1, heavy.max_concurrency // 2))
        light = plan(model=MODELS[model], ask=half, inventory=inventory)
        assert isinstance(light, Plan)
        assert light.gpus <= heavy.gpus


anything = st.none() | st.integers(-(2**80), 2**80)
words = (
    st.none()
    | st.sampled_from(("LLMAPI", "TensorRTEngine", "LlamaCpp", "bf16", "fp8", "3g.40gb", "H100-80", ""))
    | (st.text(max_size=8))
)


@settings(max_examples=300, deadline=None)
@given(
    model=st.sampled_from(sorted(MODELS)),
    ask=st.builds(
        Ask,
        engine=words,
        precision=words,
        context_length=anything,
        max_concurrency=anything,
        tensor=anything,
        pipeline=anything,
        kv_precision=words,
        gpu=words,
        mig_profile=words,
        device_class=words,
    ),
    inventory=inventories | st.just(Inventory()) | st.just(hypothetical(gpu="A100-80", mig_profile="3g.40gb")),
)
def test_every_question_has_an_answer(model: str, ask: Ask, inventory: Inventory) -> None:
    answer = plan(model=MODELS[model], ask=ask, inventory=inventory)
    assert answer.explanation if isinstance(answer, Plan) else answer.message
    assert plan(model=MODELS[model], ask=ask, inventory=inventory) == answer
