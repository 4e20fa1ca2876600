"""The fit planner: published pairs, rules, and properties."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.planning import memory
from paddock_core.planning.explain import memory_bar
from paddock_core.planning.fit import plan
from paddock_core.planning.gpus import gpu_table, hypothetical, inventory_of
from paddock_core.planning.types import Ask, Inventory, MemoryUse, Plan, Refusal, RefusalReason

MODELS = packaged_catalog().models
GPU_MODELS = sorted(name for name, model in MODELS.items() if model.default_engine != "LlamaCpp")

PUBLISHED = [
    # model, precision, GPU, GPUs published; sources: NVIDIA's performance overview, NIM support matrices.
    ("llama-3.1-8b-instruct", "bf16", "A100-80", 1),
    ("llama-3.1-8b-instruct", "bf16", "H100-80", 1),
    ("llama-3.1-8b-instruct", "bf16", "H200-141", 1),
    ("llama-3.1-8b-instruct", "bf16", "L40S-48", 1),
    ("llama-3.1-8b-instruct", "bf16", "A10G-24", 2),
    ("llama-3.1-70b-instruct", "bf16", "A100-80", 4),
    ("llama-3.1-405b-instruct", "fp8", "H100-80", 8),
    ("llama-3.1-405b-instruct", "fp8", "H200-141", 8),
    ("llama-3.1-405b-instruct", "bf16", "H100-80", 16),
]


def planned(model: str, gpu: str, **ask: object) -> Plan:
    answer = plan(model=MODELS[model], ask=Ask(**ask), inventory=hypothetical(gpu=gpu))  # type: ignore[arg-type]
    assert isinstance(answer, Plan), answer
    return answer


def refused(model: str, inventory: Inventory, **ask: object) -> Refusal:
    answer = plan(model=MODELS[model], ask=Ask(**ask), inventory=inventory)  # type: ignore[arg-type]
    assert isinstance(answer, Refusal), answer
    return answer


@pytest.mark.parametrize(("model", "precision", "gpu", "gpus"), PUBLISHED)
def test_published_pairs_are_feasible_and_ours_needs_no_more_gpus(
    model: str, precision: str, gpu: str, gpus: int
) -> None:
    ours = planned(model, gpu, precision=precision)
    print(f"{model} {precision} on {gpu}: published {gpus}, ours {ours.gpus}")
    assert ours.gpus <= gpus


def test_405b_is_cut_as_its_size_demands() -> None:
    bf16 = planned("llama-3.1-405b-instruct", "H100-80")
    assert (bf16.tensor_parallel, bf16.pipeline_parallel, bf16.pods_per_group, bf16.gpus_per_pod) == (8, 2, 2, 8)
    assert "TP8 would lack 26.6 GiB on each GPU" in bf16.explanation
    fp8 = planned("llama-3.1-405b-instruct", "H100-80", precision="fp8")
    assert (fp8.tensor_parallel, fp8.pipeline_parallel, fp8.pods_per_group) == (8, 1, 1)
    assert "453.8 GiB of weights" in fp8.explanation
    h200 = planned("llama-3.1-405b-instruct", "H200-141")
    assert (h200.tensor_parallel, h200.pipeline_parallel) == (8, 1)


def test_what_fits_one_gpu_is_not_cut() -> None:
    eight = planned("llama-3.1-8b-instruct", "H100-80")
    assert eight.gpus == 1
    assert "not cut" in eight.explanation


def test_demo_model_runs_on_cpu_without_any_gpu() -> None:
    answer = plan(model=MODELS["smollm2-135m-instruct"], ask=Ask(context_length=4096), inventory=Inventory())
    assert isinstance(answer, Plan)
    assert (answer.gpus, answer.gpus_per_pod, answer.pods_per_group) == (0, 0, 1)
    assert answer.kv_cache_bytes == 23040 * 4096 * 4
    assert answer.memory_bytes >= answer.weights_bytes + answer.kv_cache_bytes


def test_key_value_bytes_of_the_published_models() -> None:
    kib = {name: memory.kv_bytes_per_token(MODELS[name].dimensions) / 1024 for name in GPU_MODELS}
    assert kib["llama-3.1-8b-instruct"] == 128
    assert kib["llama-3.1-70b-instruct"] == 320
    assert kib["llama-3.1-405b-instruct"] == 504


def test_refusals_say_what_is_wrong_and_what_would_do() -> None:
    model = "llama-3.1-405b-instruct"
    nothing = refused(model, Inventory())
    assert nothing.reason is RefusalReason.NO_GPU
    assert len(nothing.alternatives) == 2
    small = refused(model, hypothetical(gpu="H100-80", nodes=1))
    assert small.reason is RefusalReason.DOES_NOT_FIT
    assert small.shortfall_bytes > 0
    assert "lacks" in small.message
    assert "8 x H200-141 (TP8, bf16)" in small.alternatives
    old = refused(model, hypothetical(gpu="A100-80"), precision="fp8")
    assert old.reason is RefusalReason.PRECISION_UNSUPPORTED
    long = refused(model, hypothetical(gpu="H100-80"), context_length=131073)
    assert long.reason is RefusalReason.CONTEXT_TOO_LONG
    assert refused(model, Inventory(), engine="LlamaCpp").reason is RefusalReason.ENGINE_CANNOT_LOAD
    assert refused(model, Inventory(), engine="Abacus").reason is RefusalReason.ENGINE_UNKNOWN
    assert refused(model, Inventory(), precision="int3").reason is RefusalReason.PRECISION_UNKNOWN
    assert refused("smollm2-135m-instruct", Inventory(), tensor=2).reason is RefusalReason.INVALID_PARALLELISM
    assert refused(model, hypothetical(gpu="H100-80"), pipeline=127).reason is RefusalReason.INVALID_PARALLELISM


def test_tensor_size_must_suit_the_heads() -> None:
    odd = replace(
        MODELS["llama-3.1-8b-instruct"],
        dimensions=replace(MODELS["llama-3.1-8b-instruct"].dimensions, heads=52, kv_heads=52),
    )
    for tensor, fits in ((2, True), (4, True), (8, False)):
        answer = plan(model=odd, ask=Ask(tensor=tensor), inventory=hypothetical(gpu="H100-80"))
        assert isinstance(answer, Plan) is fits
    # 8 key-value heads over 16 GPUs are replicated, not refused; over nodes that hold 16 GPUs.
    wide = plan(
        model=MODELS["llama-3.1-70b-instruct"],
        ask=Ask(tensor=16),
        inventory=hypothetical(gpu="H100-80", per_node=16),
    )
    assert isinstance(wide, Plan)


def test_asked_sizes_are_kept() -> None:
    answer = planned("llama-3.1-70b-instruct", "H100-80", tensor=4, pipeline=2)
    assert (answer.tensor_parallel, answer.pipeline_parallel) == (4, 2)
    assert (answer.gpus_per_pod, answer.pods_per_group) == (8, 1), "both stages fit one node of eight"


@settings(max_examples=150, deadline=None)
@given(
    model=st.sampled_from(GPU_MODELS),
    gpu=st.sampled_from(sorted(gpu_table())),
    context=st.integers(16, 131072),
    concurrency=st.integers(1, 512),
    nodes=st.integers(1, 8),
)
def test_a_plan_always_fits_and_no_smaller_one_does(
    model: str, gpu: str, context: int, concurrency: int, nodes: int
) -> None:
    entry = MODELS[model]
    ask = Ask(context_length=min(context, entry.context_length), max_concurrency=concurrency)
    inventory = hypothetical(gpu=gpu, nodes=nodes)
    answer = plan(model=entry, ask=ask, inventory=inventory)
    if isinstance(answer, Refusal):
        assert answer.shortfall_bytes > 0
        return
    assert answer.per_gpu.free >= 0
    assert answer.kv_tokens >= answer.context_length * concurrency
    assert entry.dimensions.heads % answer.tensor_parallel == 0
    assert answer.gpus == answer.tensor_parallel * answer.pipeline_parallel
    assert answer.gpus_per_pod <= inventory.pools[0].gpus_per_node
    assert answer.pods_per_group <= nodes
    if answer.tensor_parallel > 1 and answer.pipeline_parallel == 1:
        smaller = replace(ask, tensor=answer.tensor_parallel // 2, pipeline=1)
        assert isinstance(plan(model=entry, ask=smaller, inventory=inventory), Refusal)
    if answer.pipeline_parallel > 1:
        fewer = replace(ask, tensor=answer.tensor_parallel, pipeline=answer.pipeline_parallel - 1)
        assert isinstance(plan(model=entry, ask=fewer, inventory=inventory), Refusal)


@given(order=st.permutations(sorted(gpu_table())), model=st.sampled_from(GPU_MODELS))
def test_the_order_of_nodes_does_not_matter(order: list[str], model: str) -> None:
    pools = tuple(pool for gpu in order for pool in hypothetical(gpu=gpu).pools)
    shuffled = plan(model=MODELS[model], ask=Ask(), inventory=Inventory(pools=pools))
    in_order = tuple(pool for gpu in sorted(gpu_table()) for pool in hypothetical(gpu=gpu).pools)
    assert shuffled == plan(model=MODELS[model], ask=Ask(), inventory=Inventory(pools=in_order))


@given(
    total=st.integers(1, 10**12),
    parts=st.tuples(*[st.integers(0, 10**12)] * 4),
    width=st.integers(4, 120),
)
def test_bar_has_the_asked_width(total: int, parts: tuple[int, int, int, int], width: int) -> None:
    use = MemoryUse(total=total, weights=parts[0], kv_cache=parts[1], activations=parts[2], runtime=parts[3])
    assert len(memory_bar(use, width=width)) == width + 2


def _node(name: str, product: str, count: str, **labels: str) -> dict[str, object]:
    own = {"nvidia.com/gpu.product": product, **{key.replace("_", "."): value for key, value in labels.items()}}
    return {
        "metadata": {"name": name, "labels": {key if "/" in key else f"nvidia.com/{key}": v for key, v in own.items()}},
        "status": {"allocatable": {"nvidia.com/gpu": count}},
    }


def test_inventory_is_read_from_node_labels() -> None:
    nodes = [
        _node("a", "NVIDIA-H100-80GB-HBM3", "8"),
        _node("b", "NVIDIA-H100-80GB-HBM3", "8"),
        _node("c", "NVIDIA-H100-80GB-HBM3", "7"),
        _node("d", "Weird-GPU", "4", gpu_memory="24576", gpu_compute_major="8", gpu_compute_minor="9"),
        _node("e", "Weird-GPU-without-labels", "4"),
        _node("f", "NVIDIA-H200", "0"),
    ]
    pools = [(pool.gpu.id, pool.gpus_per_node, pool.nodes) for pool in inventory_of(nodes).pools]
    assert pools == [("H100-80", 7, 1), ("H100-80", 8, 2), ("Weird-GPU", 4, 1)]
    weird = next(pool.gpu for pool in inventory_of(nodes).pools if pool.gpu.id == "Weird-GPU")
    assert (weird.memory, weird.compute_capability) == (24576 * memory.MIB, 89)
