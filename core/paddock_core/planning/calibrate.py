"""Constants that fit measured runs.

A run says what one GPU of a plan held after the weights were loaded and before the cache was made, and how many tokens
the engine then said that its cache holds. From the first follows `weights_factor`, the slope over the size of the
weights; from the second what was left neither for weights nor for cache, whose slope over the size of a step's hidden
states is `activation_copies`. A slope that the runs do not tell (one run, models of one size) stays as it was. What
remains is `gpu_runtime`, the largest of all runs: a plan must not promise what one of them did not hold.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec

from paddock_core.catalog.types import ModelEntry
from paddock_core.planning import memory
from paddock_core.planning.constants import MIB, Constants
from paddock_core.planning.cut import Cut
from paddock_core.planning.errors import RunsError
from paddock_core.planning.explain import size_text
from paddock_core.planning.gpus import gpu_table
from paddock_core.planning.need import Need, need_of
from paddock_core.planning.table import cell, on_gpus
from paddock_core.planning.types import Ask, NodePool, Refusal
from paddock_core.planning.wish import Wish, complete, with_estimates

MAX_WEIGHTS_FACTOR = 1.5
"""A larger slope is no overhead of loading; something else grew with the model."""
LEAST_COPIES = 0.01
MOST_RUNS = 10_000


class Run(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One measured start of an engine. `after_load_mib` is of the fullest GPU."""

    model: str
    gpu: str
    after_load_mib: float
    kv_tokens: int
    tensor: int = 1
    pipeline: int = 1
    precision: str | None = None
    kv_precision: str | None = None
    max_batch_size: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A run beside what the planner says of it."""

    run: Run
    tokens_before: int
    """With the constants as they were."""
    tokens_after: int
    """With the fitted ones: never more than measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A cell of the table of all models by all GPUs, before and after."""

    model: str
    gpu: str
    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """The fitted constants, and each run beside what they promise of it."""

    constants: Constants
    runs: tuple[Checked, ...]


def read_runs(rows: Iterable[Mapping[str, object]]) -> list[Run]:
    """Runs from the rows of a CSV or JSON file; empty cells are left out. Raises RunsError."""
    runs = []
    for number, row in enumerate(rows, start=1):
        try:
            runs.append(msgspec.convert({k: v for k, v in row.items() if v not in ("", None)}, Run, strict=False))
        except msgspec.ValidationError as error:
            raise RunsError(f"run {number}: {error}") from error
        if number > MOST_RUNS:
            raise RunsError(f"at most {MOST_RUNS} runs")
    if not runs:
        raise RunsError("no runs: give at least one")
    return runs


def calibrate(*, runs: Sequence[Run], models: Mapping[str, ModelEntry], constants: Constants) -> Calibration:
    """Fit the constants to runs. Raises RunsError for a run of a model, GPU or cut that there is not."""
    wishes = [_wish(run, models, constants) for run in runs]
    pairs = list(zip(runs, wishes, strict=True))
    fitted = _fit_step(pairs, _fit_loading(pairs, constants))
    checked = tuple(
        Checked(run=run, tokens_before=_tokens(run, wish, constants), tokens_after=_tokens(run, wish, fitted))
        for run, wish in pairs
    )
    return Calibration(constants=fitted, runs=checked)


def _wish(run: Run, models: Mapping[str, ModelEntry], constants: Constants) -> Wish:
    model = models.get(run.model)
    if model is None or run.gpu not in gpu_table():
        raise RunsError(f"run of {run.model} on {run.gpu}: no such model or GPU; `paddock plan table` lists both")
    ask = Ask(
        precision=run.precision,
        kv_precision=run.kv_precision,
        max_concurrency=run.max_batch_size,
        tensor=run.tensor,
        pipeline=run.pipeline,
    )
    wish = complete(model=with_estimates(model), ask=ask, constants=constants)
    if isinstance(wish, Refusal):
        raise RunsError(f"run of {run.model} on {run.gpu}: {wish.message}")
    if not 0 < run.after_load_mib * MIB <= gpu_table()[run.gpu].memory or run.kv_tokens < 1:
        raise RunsError(f"run of {run.model} on {run.gpu}: after_load_mib or kv_tokens is out of range")
    _possible(run, need_of(wish, _cut(run), _pool(run)))
    return wish


def _possible(run: Run, need: Need) -> None:
    """Raises RunsError for a cache that the GPU had no room for beside what was loaded."""
    loaded, cache, whole = run.after_load_mib * MIB, run.kv_tokens * need.per_token, need.use.total
    if loaded + cache > whole:
        raise RunsError(
            f"run of {run.model} on {run.gpu}: {run.kv_tokens} tokens of cache are {size_text(cache)} on each GPU,"
            f" beside {size_text(int(loaded))} loaded: more than its {size_text(whole)}; check kv_tokens, tensor and"
            " pipeline"
        )


def _fit_loading(pairs: Sequence[tuple[Run, Wish]], constants: Constants) -> Constants:
    """`weights_factor`, where the runs tell it."""
    plain = replace(constants, weights_factor=1.0)
    factor = _slope([(_weights(run, wish, plain), _loaded(run, constants)) for run, wish in pairs])
    if factor is None or not 1 <= factor <= MAX_WEIGHTS_FACTOR:
        return constants
    return replace(constants, weights_factor=factor)


def _fit_step(pairs: Sequence[tuple[Run, Wish]], constants: Constants) -> Constants:
    """`activation_copies`, where the runs tell it, and the least `gpu_runtime` that covers every run."""
    points = [_beside(run, wish, constants) for run, wish in pairs]
    slope = _slope(points)
    copies = constants.activation_copies if slope is None or slope < 0 else max(slope, LEAST_COPIES)
    runtime = max(size - copies * each for each, size in points)
    return replace(constants, activation_copies=copies, gpu_runtime=max(math.ceil(runtime), MIB))


def _beside(run: Run, wish: Wish, constants: Constants) -> tuple[float, float]:
    """One buffer of hidden states, and what a run held beside weights, cache and what the constants leave alone."""
    bare = replace(constants, activation_copies=0.0, gpu_runtime=0)
    need = need_of(replace(wish, constants=bare), _cut(run), _pool(run))
    cache = run.kv_tokens * need.per_token / constants.cache_fraction
    known = need.use.weights + need.use.activations + need.use.runtime
    each = memory.hidden_state_bytes(wish.model.dimensions, constants=constants)
    return each, need.use.total - cache - known


def _slope(points: Sequence[tuple[float, float]]) -> float | None:
    """Of the line through the points by least squares; None where they do not tell."""
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread > MIB**2 else None


def _weights(run: Run, wish: Wish, constants: Constants) -> float:
    return memory.weights_per_gpu(
        wish.model, weights=wish.weights, tensor=run.tensor, pipeline=run.pipeline, constants=constants
    )


def _loaded(run: Run, constants: Constants) -> float:
    """What was loaded, without the buffers for exchange between GPUs."""
    exchange = constants.gpu_communication if run.tensor * run.pipeline > 1 else 0
    return run.after_load_mib * MIB - exchange


def _tokens(run: Run, wish: Wish, constants: Constants) -> int:
    return need_of(replace(wish, constants=constants), _cut(run), _pool(run)).kv_tokens


def _cut(run: Run) -> Cut:
    return Cut(tensor=run.tensor, pipeline=run.pipeline, stages_per_pod=run.pipeline)


def _pool(run: Run) -> NodePool:
    return NodePool(gpu=gpu_table()[run.gpu], gpus_per_node=run.tensor * run.pipeline, nodes=1)


def changes(*, models: Mapping[str, ModelEntry], before: Constants, after: Constants) -> Iterator[Change]:
    """Every cell of the table of all models by all GPUs that other constants change."""
    for model in on_gpus(models):
        for gpu in gpu_table():
            old, new = cell(model, gpu, constants=before), cell(model, gpu, constants=after)
            if old != new:
                yield Change(model=model.id, gpu=gpu, before=old, after=new)
