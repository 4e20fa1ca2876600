"""Every cut of a model that the rules allow on some nodes, and none else."""

from dataclasses import replace

import pytest
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.planning.cut import cuts, invalid_tensor
from paddock_core.planning.gpus import hypothetical
from paddock_core.planning.types import NodePool

MODELS = packaged_catalog().models
EIGHT_B = "llama-3.1-8b-instruct"
"""32 heads, 8 key-value heads, 32 layers, checked with up to 16."""
SLICE = "1g.10gb"


def pool(per_node: int, nodes: int, *, mig_profile: str | None = None) -> NodePool:
    (one,) = hypothetical(gpu="H100-80").pools
    return replace(one, gpus_per_node=per_node, nodes=nodes, mig_profile=mig_profile)


def found(where: NodePool, *, tensor: int | None = None, pipeline: int | None = None, model: str = EIGHT_B
          ) -> list[tuple[int, int, int, int]]:  # fmt: skip
    """Tensor size, stages, stages in a pod, pods."""
    made = cuts(MODELS[model], where, tensor=tensor, pipeline=pipeline)
    return [(cut.tensor, cut.pipeline, cut.stages_per_pod, cut.pods) for cut in made]


def test_within_a_node_by_powers_of_two_and_beyond_it_by_stages_of_the_largest() -> None:
    assert found(pool(4, 2)) == [(1, 1, 1, 1), (2, 1, 1, 1), (4, 1, 1, 1), (4, 2, 1, 2)]
    assert found(pool(3, 2)) == [(1, 1, 1, 1), (2, 1, 1, 1), (2, 2, 1, 2)]
    assert found(pool(1, 2)) == [(1, 1, 1, 1), (1, 2, 1, 2)]


@pytest.mark.parametrize(
    ("tensor", "pipeline", "made"),
    [
        (2, None, [(2, 1, 1, 1)]),
        (4, None, [(4, 1, 1, 1), (4, 2, 1, 2)]),
        (8, None, []),
        (None, 2, [(1, 2, 2, 1), (2, 2, 2, 1), (4, 2, 1, 2)]),
        (1, 3, [(1, 3, 3, 1)]),
        (1, 6, [(1, 6, 3, 2)]),
        (2, 3, []),
    ],
)
def test_what_is_asked_for_is_made_or_nothing(
    tensor: int | None, pipeline: int | None, made: list[tuple[int, int, int, int]]
) -> None:
    """Two nodes of four GPUs. Each pod has as many stages, and no stage lies in two pods."""
    assert found(pool(4, 2), tensor=tensor, pipeline=pipeline) == made


def test_no_more_stages_than_layers_and_no_more_pods_than_nodes() -> None:
    assert found(pool(8, 40), tensor=8, pipeline=32) == [(8, 32, 1, 32)]
    assert found(pool(8, 40), tensor=8, pipeline=33) == []
    assert found(pool(8, 31), tensor=8, pipeline=32) == []


@pytest.mark.parametrize(("per_node", "nodes"), [(0, 2), (4, 0)])
def test_where_no_gpu_is_nothing_is_cut(per_node: int, nodes: int) -> None:
    assert found(pool(per_node, nodes)) == []


def test_parts_of_gpus_are_never_joined() -> None:
    assert found(pool(7, 3, mig_profile=SLICE)) == [(1, 1, 1, 1)]
    assert found(pool(7, 3, mig_profile=SLICE), pipeline=2) == []
    assert found(pool(7, 3, mig_profile=SLICE), tensor=2) == []


@pytest.mark.parametrize(
    ("model", "tensor", "words"),
    [
        (EIGHT_B, 16, None),
        (EIGHT_B, 3, "tensor 3 does not divide the 32 attention heads"),
        ("llama-3.2-3b-instruct", 6, "tensor 6 neither divides nor multiplies the 8 key-value heads"),
        ("llama-3.2-1b-instruct", 16, "tensor 16 is more than the 8 that llama-3.2-1b-instruct was checked with"),
        (EIGHT_B, 32, "tensor 32 is more than the 16"),
    ],
)
def test_a_size_that_is_none_is_refused_by_its_reason(model: str, tensor: int, words: str | None) -> None:
    told = invalid_tensor(MODELS[model], tensor)
    assert (told is None) is (words is None)
    assert (words or "") in (told or "")


def test_sizes_that_a_model_was_not_checked_with_are_left_out() -> None:
    assert [cut[0] for cut in found(pool(16, 1), model="llama-3.2-1b-instruct")] == [1, 2, 4, 8, 8]
    assert {cut[0] for cut in found(pool(8, 1), model="smollm2-135m-instruct")} == {1}
