"""The table of all models by all GPUs, and the tables of constants and GPUs, as docs/planning.md shows them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from paddock_core.catalog.types import ModelEntry
from paddock_core.planning.constants import GIB, Constants, table
from paddock_core.planning.fit import CONSTANTS, plan
from paddock_core.planning.gpus import hypothetical
from paddock_core.planning.products import gpu_table
from paddock_core.planning.types import Ask, Engine, Plan
from paddock_core.planning.wish import with_estimates

NO_PLAN = "–"
PRECISIONS: Sequence[tuple[str, ...]] = ((), ("fp8",), ("nvfp4", "int4-awq"))
"""A table each. No precision: the model's default; of several, the first that the GPU computes in."""


def cell(model: ModelEntry, gpu: str, *, precisions: Sequence[str] = (), constants: Constants = CONSTANTS) -> str:
    """How a model is cut on nodes of a product, or NO_PLAN: `1`, `TP2`, `TP8 x PP2`."""
    for precision in precisions or (None,):
        answer = plan(
            model=with_estimates(model) if precision else model,
            ask=Ask(precision=precision),
            inventory=hypothetical(gpu=gpu),
            constants=constants,
        )
        if isinstance(answer, Plan):
            return _cut(answer)
    return NO_PLAN


def _cut(answer: Plan) -> str:
    if answer.gpus == 1:
        return "1"
    tensor, stages = f"TP{answer.tensor_parallel}", answer.pipeline_parallel
    return tensor if stages == 1 else f"{tensor} x PP{stages}"


def on_gpus(models: Mapping[str, ModelEntry]) -> list[ModelEntry]:
    """Models that run on GPUs, the oldest and smallest first."""
    found = [model for model in models.values() if model.default_engine != Engine.LLAMA_CPP]
    return sorted(found, key=lambda model: (model.family, model.parameters, model.id))


def rows(
    models: Mapping[str, ModelEntry], *, precisions: Sequence[str] = (), constants: Constants = CONSTANTS
) -> Iterator[tuple[str, ...]]:
    """A row a model: its id, GiB of its weights, and a cell a GPU in the order of the GPU table."""
    for model in on_gpus(models):
        known = with_estimates(model).weights
        precision = next((name for name in precisions if name in known), model.default_precision)
        gib = f"{known[precision].bytes / GIB:.1f}"
        cells = (cell(model, gpu, precisions=precisions, constants=constants) for gpu in gpu_table())
        yield (model.id, gib, *cells)


def markdown(models: Mapping[str, ModelEntry]) -> str:
    """Every generated part of docs/planning.md."""
    parts = []
    for precisions in PRECISIONS:
        title = " or ".join(precisions) or "default precision"
        parts += [
            f"### In {title}",
            "",
            *_lines(("model", "GiB", *gpu_table()), rows(models, precisions=precisions)),
            "",
        ]
    parts += ["### GPUs", "", *_lines(_GPU_COLUMNS, _gpu_rows()), ""]
    parts += ["### Constants", "", *_lines(_CONSTANT_COLUMNS, _constant_rows()), ""]
    parts += ["### Precisions", "", *_lines(_PRECISION_COLUMNS, _precision_rows())]
    return "\n".join(parts) + "\n"


def _lines(columns: Sequence[str], body: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns), *(f"| {' | '.join(row)} |" for row in body)]


_GPU_COLUMNS = ("id", "GiB", "compute capability", "NVLink", "in a node", "parts (GiB, most of a GPU)")
_CONSTANT_COLUMNS = ("constant", "value", "unit", "basis", "meaning", "source")
_PRECISION_COLUMNS = ("weights in", "bytes a parameter", "compute capability", "from")


def _gpu_rows() -> Iterator[tuple[str, ...]]:
    for gpu in gpu_table().values():
        parts = ", ".join(f"{part.name} ({part.memory / GIB:g}, {part.most})" for part in gpu.mig)
        link = "yes" if gpu.nvlink else "no"
        yield (gpu.id, f"{gpu.memory / GIB:.1f}", _capability(gpu.compute_capability), link, str(gpu.per_node), parts)


def _constant_rows() -> Iterator[tuple[str, ...]]:
    for name, row in table().constants.items():
        yield (f"`{name}`", f"{row.value:g}", row.unit, row.basis, row.meaning, row.source)


def _precision_rows() -> Iterator[tuple[str, ...]]:
    for name, row in table().precisions.items():
        ways = [f"cast from {other}" for other in row.cast_from]
        ways += [f"quantized from {other} by an engine build" for other in row.quantized_from]
        yield (name, f"{row.bytes:g}", _capability(row.compute_capability), "; ".join(("a checkpoint", *ways)))


def _capability(number: int) -> str:
    return f"{number // 10}.{number % 10}"
