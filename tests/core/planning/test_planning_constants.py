"""The table of constants, and constants fitted to measured runs."""

import json
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.planning.calibrate import Run, calibrate, changes, read_runs
from paddock_core.planning.constants import GIB, MIB, Constants, overridden, packaged_constants, shown, table
from paddock_core.planning.cut import Cut
from paddock_core.planning.errors import ConstantsError, RunsError
from paddock_core.planning.fit import plan
from paddock_core.planning.gpus import gpu_table, hypothetical
from paddock_core.planning.memory import kv_bytes_per_gpu_token
from paddock_core.planning.need import need_of
from paddock_core.planning.types import Ask, Engine, Plan
from paddock_core.planning.wish import complete

MODELS = packaged_catalog().models
CONSTANTS = packaged_constants()
CUTS = [
    ("llama-3.1-8b-instruct", "H100-80", 1),
    ("llama-3.1-8b-instruct", "A100-80", 2),
    ("llama-3.1-70b-instruct", "H100-80", 4),
    ("llama-3.1-70b-instruct", "H200-141", 4),
    ("llama-3.1-405b-instruct", "H200-141", 8),
    ("llama-2-13b-chat", "A100-80", 1),
]


def test_the_table_says_of_every_constant_what_it_rests_on() -> None:
    assert [*table().constants] == [item.name for item in fields(Constants)]
    for name, row in table().constants.items():
        assert row.basis in {"documented", "measured", "assumed"}, name
        assert row.meaning, name
        assert row.source, name
    assert set(table().engines) == set(Engine)
    known = set(table().precisions)
    for row in table().precisions.values():
        assert {*row.cast_from, *row.quantized_from} <= known


def test_constants_can_be_replaced_in_the_units_of_the_table() -> None:
    other = overridden(CONSTANTS, {"gpu_runtime": 3.5, "cache_fraction": 0.8})
    assert (other.gpu_runtime, other.cache_fraction) == (int(3.5 * GIB), 0.8)
    assert overridden(CONSTANTS, shown(CONSTANTS)) == CONSTANTS
    assert overridden(CONSTANTS, {}) == CONSTANTS


@pytest.mark.parametrize(
    "values",
    [{"gpu_runtim": 1}, {"gpu_runtime": 0}, {"gpu_runtime": "2"}, {"gpu_runtime": True}, {"cache_fraction": 1.1},
     {"gpu_runtime": float("nan")}, {1: 2}, [1], "x", {"max_batch": 0.3}, {"kv_block_tokens": 0.2}],
)  # fmt: skip
def test_constants_that_make_no_sense_are_refused(values: Any) -> None:
    with pytest.raises(ConstantsError):
        overridden(CONSTANTS, values)


def test_larger_reserves_leave_less_cache() -> None:
    question: dict[str, Any] = {
        "model": MODELS["llama-3.1-8b-instruct"],
        "ask": Ask(),
        "inventory": hypothetical(gpu="H100-80"),
    }
    usual, careful = plan(**question), plan(**question, constants=overridden(CONSTANTS, {"gpu_runtime": 10}))
    assert isinstance(usual, Plan)
    assert isinstance(careful, Plan)
    assert careful.kv_tokens < usual.kv_tokens
    assert careful.per_gpu.runtime == 10 * GIB


def measured(model: str, gpu: str, tensor: int, truth: Constants) -> Run:
    """A run on a GPU that behaves exactly as these constants say."""
    wish = complete(model=MODELS[model], ask=Ask(tensor=tensor), constants=truth)
    pool = replace(hypothetical(gpu=gpu).pools[0], nodes=1)
    need = need_of(wish, Cut(tensor=tensor, pipeline=1, stages_per_pod=1), pool)  # type: ignore[arg-type]
    loaded = need.use.weights + need.use.runtime
    return Run(model=model, gpu=gpu, tensor=tensor, after_load_mib=loaded / MIB, kv_tokens=need.kv_tokens)


@settings(max_examples=40, deadline=None)
@given(
    factor=st.floats(1.0, 1.3),
    runtime=st.integers(GIB // 2, 6 * GIB),
    copies=st.floats(1, 12),
)
def test_the_truth_is_found_from_runs_that_follow_it(factor: float, runtime: int, copies: float) -> None:
    truth = replace(CONSTANTS, weights_factor=factor, gpu_runtime=runtime, activation_copies=copies)
    runs = [measured(*cut, truth) for cut in CUTS]
    found = calibrate(runs=runs, models=MODELS, constants=CONSTANTS)
    assert found.constants.weights_factor == pytest.approx(factor, rel=0.02)
    assert found.constants.activation_copies == pytest.approx(copies, rel=0.1, abs=0.5)
    assert found.constants.gpu_runtime == pytest.approx(runtime, abs=GIB // 4)
    for checked in found.runs:
        assert 0.98 * checked.run.kv_tokens - 64 <= checked.tokens_after <= checked.run.kv_tokens


@settings(max_examples=60, deadline=None)
@given(
    noisy=st.lists(st.tuples(st.sampled_from(CUTS), st.floats(0.85, 1.15), st.floats(0.5, 1.0)), min_size=1, max_size=6)
)
def test_no_measured_run_is_promised_more_than_it_held(noisy: list[tuple[Any, float, float]]) -> None:
    runs = []
    for cut, more, fewer in noisy:
        run = measured(*cut, CONSTANTS)
        tokens = max(1, int(run.kv_tokens * fewer))
        dimensions, memory = MODELS[run.model].dimensions, gpu_table()[run.gpu].memory
        room = memory - tokens * kv_bytes_per_gpu_token(dimensions, tensor=run.tensor, pipeline=1)
        loaded = min(run.after_load_mib * more, room / MIB)
        runs.append(Run(model=run.model, gpu=run.gpu, tensor=run.tensor, after_load_mib=loaded, kv_tokens=tokens))
    found = calibrate(runs=runs, models=MODELS, constants=CONSTANTS)
    assert all(checked.tokens_after <= checked.run.kv_tokens for checked in found.runs)


def test_a_cache_that_the_gpu_cannot_hold_is_no_run() -> None:
    run = {"model": "llama-3.1-8b-instruct", "gpu": "H100-80", "after_load_mib": 17000}
    with pytest.raises(RunsError, match=r"more than its 79\.6 GiB; check kv_tokens"):
        calibrate(runs=[Run(**run, kv_tokens=520_000)], models=MODELS, constants=CONSTANTS)
    assert calibrate(runs=[Run(**run, kv_tokens=500_000)], models=MODELS, constants=CONSTANTS)


def test_what_changes_is_told() -> None:
    run = measured("llama-3.1-8b-instruct", "H100-80", 1, overridden(CONSTANTS, {"gpu_runtime": 9}))
    found = calibrate(runs=[run], models=MODELS, constants=CONSTANTS)
    assert found.constants.gpu_runtime == pytest.approx(9 * GIB, abs=MIB)
    assert found.constants.activation_copies == CONSTANTS.activation_copies, "one run does not tell it"
    told = changes(models=MODELS, before=CONSTANTS, after=found.constants)
    cells = {(change.model, change.gpu): (change.before, change.after) for change in told}
    assert cells["llama-3.1-8b-instruct", "A100-40"] == ("1", "TP2")
    assert [*changes(models=MODELS, before=CONSTANTS, after=CONSTANTS)] == []


def test_runs_are_read_from_rows() -> None:
    rows = [{"model": "m", "gpu": "g", "after_load_mib": "10.5", "kv_tokens": "7", "tensor": "", "precision": None}]
    assert read_runs(rows) == [Run(model="m", gpu="g", after_load_mib=10.5, kv_tokens=7)]
    assert read_runs(json.loads('[{"model": "m", "gpu": "g", "after_load_mib": 1, "kv_tokens": 7}]'))


@pytest.mark.parametrize(
    "rows",
    [[], [{"model": "m"}], [{"model": "m", "gpu": "g", "after_load_mib": "x", "kv_tokens": "1"}],
     [{"model": "m", "gpu": "g", "after_load_mib": "1", "kv_tokens": "1", "colour": "red"}]],
)  # fmt: skip
def test_rows_that_are_no_runs_are_refused(rows: list[dict[str, object]]) -> None:
    with pytest.raises(RunsError):
        read_runs(rows)


@pytest.mark.parametrize(
    "change",
    [
        {"model": "nothing"},
        {"gpu": "TPU"},
        {"after_load_mib": 10**9},
        {"kv_tokens": 0},
        {"kv_tokens": 550_000},
        {"kv_tokens": 99999999999999999999},
        {"tensor": 3},
        {"precision": "int3"},
    ],
)
def test_runs_of_what_there_is_not_are_refused(change: dict[str, Any]) -> None:
    run = {"model": "llama-3.1-8b-instruct", "gpu": "H100-80", "after_load_mib": 17000, "kv_tokens": 400000, **change}
    with pytest.raises(RunsError):
        calibrate(runs=[Run(**run)], models=MODELS, constants=CONSTANTS)
