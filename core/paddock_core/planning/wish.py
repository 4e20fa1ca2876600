"""From what a deployment asks for to a complete wish: defaults filled in, and what no cluster could run refused."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from paddock_core.catalog.types import ModelEntry, WeightSet
from paddock_core.planning.constants import Constants, table
from paddock_core.planning.cut import invalid_tensor
from paddock_core.planning.memory import weights_from_parameters
from paddock_core.planning.products import gpu_table, mig_profiles
from paddock_core.planning.types import Ask, Engine, Refusal, RefusalReason

FORMATS = {engine: table().engines[engine].format for engine in Engine}
"""The weights' format that each engine loads."""
DEFAULT_KV = "bf16"
MOST_SEQUENCES = 1_000_000
"""More at once than any GPU could hold: a slip of the pen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """An `Ask` with every default filled in."""

    model: ModelEntry
    engine: Engine
    precision: str
    checkpoint: str
    """Which of the model's weights are loaded."""
    weights: int
    """Bytes in `precision`."""
    basis: str
    """What `weights` comes from, as WeightSet.basis."""
    kv_precision: str
    context: int
    concurrency: int
    batch: int | None
    """Sequences at once that were asked for; None: as many as fit."""
    tensor: int | None
    pipeline: int | None
    gpu: str | None
    mig_profile: str | None
    device_class: str | None
    constants: Constants

    @property
    def kv_bytes(self) -> int:
        """Bytes of one value in the cache."""
        return table().kv_precisions[self.kv_precision].bytes

    @property
    def compute_capability(self) -> int:
        """The lowest that computes in these precisions, with these weights."""
        known = table().precisions.get(self.precision)
        loaded = self.model.weights[self.checkpoint].compute_capability if self.checkpoint == self.precision else None
        kv = table().kv_precisions[self.kv_precision].compute_capability
        return max(known.compute_capability if known else 0, loaded or 0, kv)


def complete(*, model: ModelEntry, ask: Ask, constants: Constants) -> Wish | Refusal:
    """Fill in the defaults, or refuse what no cluster could run."""
    engine = _engine(model, ask)
    if isinstance(engine, Refusal):
        return engine
    weights = _weights(model, engine, ask.precision or model.default_precision)
    if isinstance(weights, Refusal):
        return weights
    checkpoint, found = weights
    on_cpu = engine is Engine.LLAMA_CPP
    wish = Wish(
        model=model,
        engine=engine,
        precision=ask.precision or model.default_precision,
        checkpoint=checkpoint,
        weights=found.bytes,
        basis=found.basis,
        kv_precision=ask.kv_precision or DEFAULT_KV,
        context=_asked(ask.context_length, min(model.context_length, constants.default_context)),
        concurrency=_asked(ask.max_concurrency, constants.cpu_concurrency if on_cpu else constants.gpu_concurrency),
        batch=ask.max_concurrency,
        tensor=ask.tensor,
        pipeline=ask.pipeline,
        gpu=ask.gpu,
        mig_profile=ask.mig_profile,
        device_class=ask.device_class,
        constants=constants,
    )
    return next((refusal for check in _CHECKS if (refusal := check(wish)) is not None), wish)


def with_estimates(model: ModelEntry) -> ModelEntry:
    """The model with an estimated checkpoint in every precision that it has none in: for questions of what if."""
    own = model.weights.get(model.default_precision)
    if own is None or own.format != FORMATS[Engine.LLMAPI]:
        return model
    guessed = {
        name: _estimate(model, row.bytes)
        for name, row in table().precisions.items()
        if name not in model.weights and not set(row.cast_from) & set(model.weights)
    }
    return replace(model, weights={**model.weights, **guessed})


def _estimate(model: ModelEntry, bytes_each: float) -> WeightSet:
    size = weights_from_parameters(model, bytes_each=bytes_each)
    return WeightSet(format=FORMATS[Engine.LLMAPI], bytes=size, source={}, basis="estimate")


def _asked(value: int | None, default: int) -> int:
    return default if value is None else value


def _engine(model: ModelEntry, ask: Ask) -> Engine | Refusal:
    name = ask.engine or model.default_engine
    if name not in tuple(Engine):
        return refuse(RefusalReason.ENGINE_UNKNOWN, f"engine {name} is none of {', '.join(Engine)}")
    engine = Engine(name)
    if not table().engines[engine].runs(model.architecture):
        able = [other for other in Engine if _could_run(model, other)]
        return refuse(
            RefusalReason.ENGINE_CANNOT_LOAD,
            f"{engine} does not run {model.architecture}, the architecture of {model.id}; {_or_none(able)} does",
        )
    return engine


def _could_run(model: ModelEntry, engine: Engine) -> bool:
    row = table().engines[engine]
    return row.runs(model.architecture) and row.format in {weights.format for weights in model.weights.values()}


def _weights(model: ModelEntry, engine: Engine, precision: str) -> tuple[str, WeightSet] | Refusal:
    """Which checkpoint is loaded, and what it takes in the wanted precision."""
    found = _found(model, engine, precision)
    if found is None:
        return _no_weights(model, precision)
    wanted = FORMATS[engine]
    if found[1].format != wanted:
        return refuse(
            RefusalReason.ENGINE_CANNOT_LOAD,
            f"{engine} loads {wanted}, but the {precision} weights of {model.id} are {found[1].format}",
        )
    return found


def _found(model: ModelEntry, engine: Engine, precision: str) -> tuple[str, WeightSet] | None:
    if precision in model.weights:
        return precision, model.weights[precision]
    row = table().precisions.get(precision)
    if row is None:
        return None
    cast = next((name for name in row.cast_from if name in model.weights), None)
    if cast is not None:
        return cast, model.weights[cast]
    source = next((name for name in row.quantized_from if name in model.weights), None)
    if source is None or not table().engines[engine].quantizes:
        return None
    return source, replace(_estimate(model, row.bytes), format=model.weights[source].format)


def _no_weights(model: ModelEntry, precision: str) -> Refusal:
    text = f"{model.id} has no weights in {precision}; it has: {', '.join(sorted(model.weights))}"
    row = table().precisions.get(precision)
    if row is None:
        return refuse(RefusalReason.PRECISION_UNKNOWN, text)
    able = [engine for engine in Engine if table().engines[engine].quantizes and _could_run(model, engine)]
    builders = able if set(row.quantized_from) & set(model.weights) else []
    ways = ["register a checkpoint in it as a model of your own"]
    ways += [f"choose engine {engine}, which quantizes when it builds" for engine in builders]
    return refuse(RefusalReason.PRECISION_UNKNOWN, f"{text}; {', or '.join(ways)}")


def _in_range(wish: Wish) -> Refusal | None:
    numbers = {
        "context length": wish.context,
        "concurrency": wish.concurrency,
        "tensor": _asked(wish.tensor, 1),
        "pipeline": _asked(wish.pipeline, 1),
    }
    low = [name for name, number in numbers.items() if number < 1]
    if low:
        return refuse(RefusalReason.OUT_OF_RANGE, f"{', '.join(low)} must be 1 or more")
    if wish.concurrency > MOST_SEQUENCES:
        return refuse(RefusalReason.OUT_OF_RANGE, f"concurrency must be {MOST_SEQUENCES} or less")
    return None


def _context_fits(wish: Wish) -> Refusal | None:
    most = wish.model.context_length
    if wish.context <= most:
        return None
    text = f"{wish.model.id} was trained for {most} tokens, asked: {wish.context}"
    return refuse(RefusalReason.CONTEXT_TOO_LONG, text)


def _kv_known(wish: Wish) -> Refusal | None:
    known = table().kv_precisions
    if wish.kv_precision not in known:
        text = f"no cache in {wish.kv_precision}: it is one of {', '.join(known)}"
    elif wish.engine is Engine.LLAMA_CPP and known[wish.kv_precision].bytes != known[DEFAULT_KV].bytes:
        text = f"{wish.engine} keeps its cache in 16 bits: leave the cache's precision unset"
    else:
        return None
    return refuse(RefusalReason.KV_PRECISION_UNKNOWN, text)


def _profile_known(wish: Wish) -> Refusal | None:
    if wish.mig_profile is None or wish.mig_profile in mig_profiles(wish.gpu):
        return None
    of = f"{wish.gpu} has" if wish.gpu in gpu_table() else "there are"
    names = ", ".join(sorted(mig_profiles(wish.gpu))) or "none"
    return refuse(RefusalReason.MIG_PROFILE_UNKNOWN, f"no part of profile {wish.mig_profile}: {of} {names}")


def _cut_possible(wish: Wish) -> Refusal | None:
    """Refuse a tensor or pipeline size that no GPU could make possible."""
    text = None
    cut = max(wish.tensor or 1, wish.pipeline or 1) > 1
    layers = wish.model.dimensions.layers
    if wish.engine is Engine.LLAMA_CPP and cut:
        text = "LlamaCpp runs on one CPU pod: leave tensor and pipeline unset"
    elif wish.mig_profile is not None and cut:
        text = "parts of GPUs are not joined: leave tensor and pipeline unset, or ask for whole GPUs"
    elif wish.pipeline and wish.pipeline > layers:
        text = f"pipeline {wish.pipeline} is more than the {layers} layers"
    elif wish.tensor:
        text = invalid_tensor(wish.model, wish.tensor)
    return None if text is None else refuse(RefusalReason.INVALID_PARALLELISM, text)


_CHECKS: tuple[Callable[[Wish], Refusal | None], ...] = (
    _in_range,
    _context_fits,
    _kv_known,
    _profile_known,
    _cut_possible,
)
"""In this order; the first that refuses is the answer."""


def refuse(reason: RefusalReason, message: str, *, alternatives: tuple[str, ...] = ()) -> Refusal:
    """A refusal without a shortfall."""
    return Refusal(reason=reason, message=message, alternatives=alternatives)


def _or_none(names: list[Engine]) -> str:
    return " or ".join(names) if names else "no other engine"
