"""The fit planner's rules, refusals and words."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.planning import memory
from paddock_core.planning.cut import cuts
from paddock_core.planning.explain import memory_bar
from paddock_core.planning.fit import loaded, plan
from paddock_core.planning.gpus import described, gpu_table, hypothetical
from paddock_core.planning.types import Ask, Inventory, MemoryUse, Plan, Refusal, RefusalReason
from paddock_core.planning.wish import MOST_SEQUENCES, with_estimates

MODELS = packaged_catalog().models
LARGE = "llama-3.1-405b-instruct"


def planned(model: str, inventory: Inventory | str, **ask: object) -> Plan:
    where = hypothetical(gpu=inventory) if isinstance(inventory, str) else inventory
    answer = plan(model=MODELS[model], ask=Ask(**ask), inventory=where)  # type: ignore[arg-type]
    assert isinstance(answer, Plan), answer
    return answer


def refused(model: str, inventory: Inventory | str, **ask: object) -> Refusal:
    where = hypothetical(gpu=inventory) if isinstance(inventory, str) else inventory
    answer = plan(model=MODELS[model], ask=Ask(**ask), inventory=where)  # type: ignore[arg-type]
    assert isinstance(answer, Refusal), answer
    return answer


def test_405b_is_cut_as_its_size_demands() -> None:
    bf16 = planned(LARGE, "H100-80")
    assert (bf16.tensor_parallel, bf16.pipeline_parallel, bf16.pods_per_group, bf16.gpus_per_pod) == (8, 2, 2, 8)
    assert "TP8 would lack 26.6 GiB on each GPU" in bf16.explanation
    fp8 = planned(LARGE, "H100-80", precision="fp8")
    assert (fp8.tensor_parallel, fp8.pipeline_parallel, fp8.pods_per_group) == (8, 1, 1)
    assert "453.8 GiB of weights (the checkpoint's files)" in fp8.explanation
    h200 = planned(LARGE, "H200-141")
    assert (h200.tensor_parallel, h200.pipeline_parallel, h200.pods_per_group) == (8, 1, 1)


def test_what_fits_one_gpu_is_not_cut() -> None:
    eight = planned("llama-3.1-8b-instruct", "H100-80")
    assert eight.gpus == 1
    assert "not cut" in eight.explanation
    assert "counted from its parameters" in eight.explanation


def test_demo_model_runs_on_cpu_without_any_gpu() -> None:
    answer = planned("smollm2-135m-instruct", Inventory(), context_length=4096)
    assert (answer.gpus, answer.gpus_per_pod, answer.pods_per_group) == (0, 0, 1)
    assert answer.kv_cache_bytes == 23040 * 4096 * 4
    assert (answer.max_batch_size, answer.max_sequences) == (4, 4)
    assert answer.memory_bytes >= answer.weights_bytes + answer.kv_cache_bytes


def test_key_value_bytes_of_the_published_models() -> None:
    kib = {name: memory.kv_bytes_per_token(model.dimensions) / 1024 for name, model in MODELS.items()}
    assert kib["llama-3.1-8b-instruct"] == 128
    assert kib["llama-3.1-70b-instruct"] == 320
    assert kib[LARGE] == 504
    assert 30 < kib["bloom-176b"] / kib["llama-3-8b-instruct"] < 31


def test_every_head_with_keys_of_its_own_is_said() -> None:
    assert "all 112 heads keep keys and values of their own" in planned("bloom-176b", "H100-80").explanation
    assert "of their own" not in planned("llama-3.1-8b-instruct", "H100-80").explanation


def test_a_cache_in_eight_bits_holds_twice_the_tokens() -> None:
    wide = planned("llama-3.1-70b-instruct", "H100-80", tensor=8)
    narrow = planned("llama-3.1-70b-instruct", "H100-80", tensor=8, kv_precision="fp8")
    assert abs(narrow.kv_tokens - 2 * wide.kv_tokens) <= 1
    assert (wide.kv_precision, narrow.kv_precision) == ("bf16", "fp8")
    assert narrow.kv_cache_bytes * 2 == wide.kv_cache_bytes
    old = refused("llama-3.1-70b-instruct", "A100-80", kv_precision="fp8")
    assert old.reason is RefusalReason.PRECISION_UNSUPPORTED
    assert "a cache in fp8 needs GPUs of compute capability 8.9" in old.message
    assert refused(LARGE, "H100-80", kv_precision="fp3").reason is RefusalReason.KV_PRECISION_UNKNOWN
    cpu = refused("smollm2-135m-instruct", Inventory(), kv_precision="fp8")
    assert cpu.reason is RefusalReason.KV_PRECISION_UNKNOWN


def test_precisions_need_their_compute_capability() -> None:
    """Meta's row-wise FP8 needs 9.0, plain FP8 8.9, NVFP4 Blackwell."""
    assert refused(LARGE, "L40S-48", precision="fp8").reason is RefusalReason.PRECISION_UNSUPPORTED
    assert refused(LARGE, "A100-80", precision="fp8").reason is RefusalReason.PRECISION_UNSUPPORTED
    eight = with_estimates(MODELS["llama-3.1-8b-instruct"])
    for gpu, fp8, nvfp4 in (("A100-80", False, False), ("L40S-48", True, False), ("H100-80", True, False),
                            ("B200-180", True, True), ("RTX-PRO-6000-96", True, True)):  # fmt: skip
        for precision, fits in (("fp8", fp8), ("nvfp4", nvfp4), ("int4-awq", True)):
            answer = plan(model=eight, ask=Ask(precision=precision), inventory=hypothetical(gpu=gpu))
            assert isinstance(answer, Plan) is fits, (gpu, precision)


def test_weights_that_are_not_there_are_quantized_by_a_build_or_refused_with_the_ways() -> None:
    model = "llama-3.1-70b-instruct"
    answer = refused(model, "H100-80", precision="fp8")
    assert answer.reason is RefusalReason.PRECISION_UNKNOWN
    assert "it has: bf16" in answer.message
    assert "register a checkpoint" in answer.message
    assert "engine TensorRTEngine" in answer.message
    built = planned(model, "H100-80", precision="fp8", engine="TensorRTEngine")
    assert (built.precision, built.checkpoint, built.weights) == ("fp8", "bf16", "bf16")
    assert "an estimate" in built.explanation
    assert built.weights_bytes < MODELS[model].weights["bf16"].bytes * 0.55
    cast = planned(model, "H100-80", precision="fp16")
    assert (cast.checkpoint, cast.weights_bytes) == ("bf16", MODELS[model].weights["bf16"].bytes)
    same = planned(model, "H100-80")
    assert (same.checkpoint, same.weights) == (None, "bf16")
    assert planned(model, "B200-180", precision="nvfp4", engine="TensorRTEngine").weights == "bf16"


def test_which_weights_are_loaded_is_known_without_a_cluster() -> None:
    model = MODELS["llama-3.1-70b-instruct"]
    assert loaded(model=model, ask=Ask()) == "bf16"
    assert loaded(model=model, ask=Ask(precision="fp8", engine="TensorRTEngine")) == "bf16"
    assert loaded(model=model, ask=Ask(precision="fp8")) is None
    assert loaded(model=replace(model, weights={}), ask=Ask()) is None


def test_an_engine_runs_the_architectures_that_it_knows() -> None:
    answer = refused("bloom-176b", "H100-80", engine="LLMAPI")
    assert answer.reason is RefusalReason.ENGINE_CANNOT_LOAD
    assert "TensorRTEngine does" in answer.message
    assert planned("bloom-176b", "H100-80").engine == "TensorRTEngine"
    scout = refused("llama-4-scout-17b-16e-instruct", "H200-141", engine="TensorRTEngine")
    assert scout.reason is RefusalReason.ENGINE_CANNOT_LOAD


def test_a_compiled_engine_stays_on_one_node() -> None:
    assert planned(LARGE, "H100-80").pods_per_group == 2
    built = refused(LARGE, "H100-80", engine="TensorRTEngine")
    assert built.reason is RefusalReason.DOES_NOT_FIT
    assert "TP8 on H100-80 each GPU lacks" in built.message
    asked = refused(LARGE, "H100-80", engine="TensorRTEngine", tensor=8, pipeline=2)
    assert "no room for tensor 8, pipeline 2 on one node" in asked.message
    assert planned(LARGE, "H100-80", engine="TensorRTEngine", precision="fp8").pods_per_group == 1
    inside = planned("llama-3.1-70b-instruct", "H100-80", engine="TensorRTEngine", tensor=4, pipeline=2)
    assert (inside.pods_per_group, inside.gpus) == (1, 8)


@pytest.mark.parametrize(
    ("model", "bytes_known", "precision"),
    [
        # Sizes of NVIDIA's and others' public checkpoints, in GB with a tolerance of one in a hundred.
        ("llama-3.1-8b-instruct", 9.08, "fp8"),
        ("llama-3.1-70b-instruct", 72.7, "fp8"),
        ("llama-3.1-8b-instruct", 5.73, "int4-awq"),
        ("llama-3.1-70b-instruct", 39.8, "int4-awq"),
    ],
)
def test_estimates_meet_the_checkpoints_that_are_known(model: str, bytes_known: float, precision: str) -> None:
    guessed = with_estimates(MODELS[model]).weights[precision].bytes / 1e9
    assert guessed == pytest.approx(bytes_known, rel=0.01)


def test_refusals_say_what_is_wrong_and_what_would_do() -> None:
    nothing = refused(LARGE, Inventory())
    assert nothing.reason is RefusalReason.NO_GPU
    assert len(nothing.alternatives) == 2
    small = refused(LARGE, hypothetical(gpu="H100-80", nodes=1))
    assert small.reason is RefusalReason.DOES_NOT_FIT
    assert small.shortfall_bytes > 0
    assert "lacks 26.6 GiB" in small.message
    assert small.alternatives == ("8 x H100-80 (TP8, fp8)", "8 x H200-141 (TP8, bf16)")
    long = refused(LARGE, "H100-80", context_length=131073)
    assert long.reason is RefusalReason.CONTEXT_TOO_LONG
    assert refused(LARGE, Inventory(), engine="LlamaCpp").reason is RefusalReason.ENGINE_CANNOT_LOAD
    assert refused(LARGE, Inventory(), engine="Abacus").reason is RefusalReason.ENGINE_UNKNOWN
    assert refused(LARGE, Inventory(), precision="int3").reason is RefusalReason.PRECISION_UNKNOWN
    assert refused("smollm2-135m-instruct", Inventory(), tensor=2).reason is RefusalReason.INVALID_PARALLELISM
    assert refused(LARGE, "H100-80", pipeline=127).reason is RefusalReason.INVALID_PARALLELISM
    assert refused(LARGE, "H100-80", max_concurrency=0).reason is RefusalReason.OUT_OF_RANGE
    assert "has no room" in refused(LARGE, hypothetical(gpu="H100-80", per_node=4), tensor=8).message


def test_alternatives_on_the_own_gpus_are_a_smaller_cache_or_a_lighter_load() -> None:
    one = hypothetical(gpu="L40S-48", nodes=1, per_node=1)
    heavy = refused("llama-3.1-8b-instruct", one, context_length=8192, max_concurrency=40)
    assert heavy.alternatives[0] == "1 x L40S-48 (TP1, bf16) with a cache in fp8"
    load = refused("llama-3.1-8b-instruct", one, context_length=8192, max_concurrency=400)
    count = int(load.alternatives[0].removeprefix("1 x L40S-48 (TP1, bf16) for ").split()[0])
    assert planned("llama-3.1-8b-instruct", one, context_length=8192, max_concurrency=count)
    assert refused("llama-3.1-8b-instruct", one, context_length=8192, max_concurrency=count + 1)
    long = refused("llama-3.1-8b-instruct", hypothetical(gpu="A10G-24", nodes=1, per_node=1), context_length=131072)
    assert long.alternatives[0] == "1 x A10G-24 (TP1, bf16) for 1 sequence of 32768 tokens"


def test_tensor_size_must_suit_the_heads() -> None:
    for tensor, fits in ((2, True), (4, True), (8, False), (16, False)):
        answer = plan(model=MODELS["llama-33b"], ask=Ask(tensor=tensor), inventory=hypothetical(gpu="H100-80"))
        assert isinstance(answer, Plan) is fits
    wide = hypothetical(gpu="H100-80", per_node=16)
    # 8 key-value heads over 16 GPUs are replicated, not refused; over nodes that hold 16 GPUs.
    assert planned("llama-3.1-70b-instruct", wide, tensor=16).gpus == 16
    forty = refused("llama-4-scout-17b-16e-instruct", wide, tensor=16)
    assert forty.reason is RefusalReason.INVALID_PARALLELISM
    assert "does not divide the 40 attention heads" in forty.message


def test_replicated_heads_hold_their_keys_on_every_gpu() -> None:
    dimensions = MODELS["llama-3.1-70b-instruct"].dimensions
    eight = memory.kv_bytes_per_gpu_token(dimensions, tensor=8, pipeline=1)
    assert memory.kv_bytes_per_gpu_token(dimensions, tensor=16, pipeline=1) == eight
    assert eight * 8 == memory.kv_bytes_per_token(dimensions)


def test_asked_sizes_are_kept() -> None:
    answer = planned("llama-3.1-70b-instruct", "H100-80", tensor=4, pipeline=2)
    assert (answer.tensor_parallel, answer.pipeline_parallel) == (4, 2)
    assert (answer.gpus_per_pod, answer.pods_per_group) == (8, 1), "both stages fit one node of eight"


def test_a_slow_link_is_said_and_avoided_where_it_can_be() -> None:
    slow = planned("llama-3.1-70b-instruct", "L40S-48")
    assert "over PCIe, which is slow" in slow.explanation
    both = described(["2xH100-80-PCIex8", "2xH100-80x8"])
    assert planned("llama-3.1-70b-instruct", both).gpu == "H100-80"
    assert "PCIe" not in planned("llama-3.1-70b-instruct", both).explanation


def test_the_wanted_product_alone_is_used() -> None:
    both = described(["8xA100-80x8", "8xH200-141x8"])
    assert planned("llama-3.1-70b-instruct", both, gpu="A100-80").gpu == "A100-80"
    assert planned("llama-3.1-70b-instruct", both).gpu == "H200-141"
    absent = refused("llama-3.1-70b-instruct", both, gpu="L40S-48")
    assert absent.reason is RefusalReason.NO_GPU
    assert "8 nodes of 8 A100-80, 8 nodes of 8 H200-141" in absent.message


def test_a_part_of_a_gpu_is_taken_when_asked_for_and_never_joined() -> None:
    parts = hypothetical(gpu="A100-80", mig_profile="3g.40gb", nodes=1)
    answer = planned("llama-3.1-8b-instruct", parts, mig_profile="3g.40gb")
    assert (answer.resource, answer.gpus_per_pod, answer.mig_profile) == ("nvidia.com/mig-3g.40gb", 1, "3g.40gb")
    assert "one 3g.40gb part of A100-80" in answer.explanation
    assert refused("llama-3.1-8b-instruct", parts).reason is RefusalReason.NO_GPU, "whole GPUs were asked for"
    large = refused("llama-3.1-70b-instruct", parts, mig_profile="3g.40gb")
    assert large.reason is RefusalReason.DOES_NOT_FIT
    assert "a 3g.40gb part of A100-80 lacks" in large.message
    joined = refused("llama-3.1-8b-instruct", parts, mig_profile="3g.40gb", tensor=2)
    assert joined.reason is RefusalReason.INVALID_PARALLELISM
    none = refused("llama-3.1-8b-instruct", parts, mig_profile="9g.90gb")
    assert none.reason is RefusalReason.MIG_PROFILE_UNKNOWN
    wrong = refused("llama-3.1-8b-instruct", parts, mig_profile="3g.71gb", gpu="A100-80")
    assert "A100-80 has" in wrong.message


def test_gpus_by_claim_are_used_only_with_a_device_class() -> None:
    pool = hypothetical(gpu="H100-80").pools[0]
    claimed = Inventory(pools=(replace(pool, claimed=True),), device_classes=("gpu.nvidia.com",))
    assert refused("llama-3.1-8b-instruct", claimed).reason is RefusalReason.NO_GPU
    answer = planned("llama-3.1-8b-instruct", claimed, device_class="gpu.nvidia.com")
    assert (answer.device_class, answer.gpu) == ("gpu.nvidia.com", "H100-80")
    unknown = refused("llama-3.1-8b-instruct", claimed, device_class="tpu.example")
    assert unknown.reason is RefusalReason.DEVICE_CLASS_UNKNOWN


def test_gpus_that_a_plugin_counts_are_not_claimed() -> None:
    counted = hypothetical(gpu="A100-40").pools[0]
    claimed = replace(hypothetical(gpu="H100-80").pools[0], claimed=True)
    mixed = Inventory(pools=(counted, claimed), device_classes=("gpu.nvidia.com",))
    assert planned("llama-3.1-8b-instruct", mixed).gpu == "A100-40"
    assert planned("llama-3.1-8b-instruct", mixed, device_class="gpu.nvidia.com").gpu == "H100-80"
    alone = refused("llama-3.1-8b-instruct", replace(mixed, pools=(counted,)), device_class="gpu.nvidia.com")
    assert alone.reason is RefusalReason.NO_GPU
    assert "that device class gpu.nvidia.com can give" in alone.message


def test_numbers_beyond_all_measure_are_refused_or_answered() -> None:
    for many in (MOST_SEQUENCES + 1, 99999999999999999999):
        much = refused("llama-3.1-8b-instruct", "H100-80", max_concurrency=many)
        assert much.reason is RefusalReason.OUT_OF_RANGE
        assert str(MOST_SEQUENCES) in much.message
    most = refused("llama-3.1-8b-instruct", "H100-80", max_concurrency=MOST_SEQUENCES)
    assert most.reason is RefusalReason.DOES_NOT_FIT


def test_no_more_stages_are_tried_than_the_model_has_layers() -> None:
    model = MODELS["llama-3.1-8b-instruct"]
    pool = hypothetical(gpu="H100-80", per_node=9999, nodes=9999).pools[0]
    found = list(cuts(model, pool, tensor=None, pipeline=None))
    assert len(found) < 2 * model.dimensions.layers
    assert max(cut.pipeline for cut in found) == model.dimensions.layers
    assert planned(model.id, Inventory(pools=(pool,))).gpus == 1


def test_an_image_takes_cache_of_its_own() -> None:
    """Eight layers of the 11B attend to four tiles of 1601 tokens, however short the text is."""
    dimensions = MODELS["llama-3.2-11b-vision-instruct"].dimensions
    image = memory.image_bytes_per_gpu_sequence(dimensions, tensor=1, pipeline=1)
    assert image == 2 * 8 * 8 * 128 * 2 * 6404
    answer = planned("llama-3.2-11b-vision-instruct", "H100-80", context_length=64, max_concurrency=10)
    assert answer.per_gpu.kv_cache == 10 * (image + 64 * 131072)


def test_engine_limits_follow_what_was_asked_or_what_fits() -> None:
    asked = planned("llama-3.1-8b-instruct", "H100-80", max_concurrency=5)
    assert (asked.max_batch_size, asked.max_concurrency) == (5, 5)
    free = planned("llama-3.1-8b-instruct", "H100-80")
    assert (free.max_batch_size, free.max_concurrency) == (free.max_sequences, 16)
    assert planned("llama-3.2-1b-instruct", "H200-141").max_batch_size == 256
    assert not free.chunked_prefill
    assert planned("llama-3.1-8b-instruct", "H100-80", context_length=32768, max_concurrency=1).chunked_prefill


@given(
    total=st.integers(1, 10**12),
    parts=st.tuples(*[st.integers(0, 10**12)] * 4),
    width=st.integers(4, 120),
)
def test_bar_has_the_asked_width(total: int, parts: tuple[int, int, int, int], width: int) -> None:
    use = MemoryUse(total=total, weights=parts[0], kv_cache=parts[1], activations=parts[2], runtime=parts[3])
    assert len(memory_bar(use, width=width)) == width + 2


def test_what_is_large_is_said_once_more_where_the_count_is_careful() -> None:
    assert "Three of four layers" in planned("llama-4-scout-17b-16e-instruct", "H200-141").explanation
    assert sorted(gpu_table()) == sorted(set(gpu_table()))
