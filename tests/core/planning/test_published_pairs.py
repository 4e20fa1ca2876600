"""What others have published of model and GPU pairs, against the planner. The planner never reads these.

Each published cut must be judged feasible, and the planner's own must not use more GPUs. Where it uses fewer, `why` is
the reason: published figures aim at throughput or latency, the planner at the fewest GPUs that hold what is asked.
`pytest -s` prints the table.
"""

from dataclasses import dataclass
from typing import Any

import pytest
from paddock_core.catalog.packaged import packaged_catalog
from paddock_core.planning.fit import plan
from paddock_core.planning.gpus import hypothetical
from paddock_core.planning.types import Ask, Plan
from paddock_core.planning.wish import with_estimates

PERF = "TensorRT-LLM performance overview 0.21"
PERF_NEW = "TensorRT-LLM performance overview, newest"
NIM = "NIM support matrix"
GUIDE = "NIM sizing guide by parameters"
CHART = "Triton tutorials, values files of the charts"
LWS = "Triton and LeaderWorkerSet multi-node examples"
INFERRED = "inferred from the published sizes"

THROUGHPUT = "the published cut is for the most tokens a second; the weights and this load fit fewer GPUs"
LATENCY = "the published cut is NIM's for low latency; the model fits fewer GPUs"
HEADROOM = "the guide is by parameters alone, in 16 bits and with head-room; in this precision fewer GPUs hold it"


@dataclass(frozen=True, kw_only=True)
class Pair:
    model: str
    precision: str
    gpu: str
    tensor: int
    pipeline: int = 1
    per_node: int = 8
    context: int = 4096
    concurrency: int | None = None
    source: str = PERF
    why: str = ""


EIGHT, SEVENTY, NEWER, LARGE = (
    "llama-3.1-8b-instruct",
    "llama-3.1-70b-instruct",
    "llama-3.3-70b-instruct",
    "llama-3.1-405b-instruct",
)
MIDDLE = "code-llama-34b-instruct"

PAIRS = [
    Pair(model=EIGHT, precision="fp8", gpu="H100-80", tensor=1),
    Pair(model=EIGHT, precision="fp8", gpu="H200-141", tensor=1),
    Pair(model=NEWER, precision="fp8", gpu="H100-80", tensor=2),
    Pair(model=NEWER, precision="fp8", gpu="H200-141", tensor=2, why=THROUGHPUT),
    Pair(model=NEWER, precision="nvfp4", gpu="B200-180", tensor=1),
    Pair(model=LARGE, precision="fp8", gpu="H100-80", tensor=8),
    Pair(model=LARGE, precision="fp8", gpu="H200-141", tensor=8, why=THROUGHPUT),
    Pair(model=LARGE, precision="nvfp4", gpu="B200-180", tensor=4, why=THROUGHPUT),
    Pair(model=NEWER, precision="nvfp4", gpu="B200-180", tensor=1, context=9216, source=PERF_NEW),
    Pair(model=NEWER, precision="nvfp4", gpu="GB200-186", tensor=1, per_node=4, context=9216, source=PERF_NEW),
    Pair(model=NEWER, precision="fp8", gpu="H200-141", tensor=2, context=9216, source=PERF_NEW, why=THROUGHPUT),
    Pair(model=NEWER, precision="fp8", gpu="H100-80", tensor=2, context=9216, source=PERF_NEW),
    Pair(model=NEWER, precision="nvfp4", gpu="RTX-PRO-6000-96", tensor=1, context=2000, source=PERF_NEW),
    Pair(model=NEWER, precision="nvfp4", gpu="RTX-PRO-6000-96", tensor=1, pipeline=2, context=2000, source=PERF_NEW,
         why=THROUGHPUT),
    Pair(model=EIGHT, precision="fp16", gpu="A100-80", tensor=1, source=NIM),
    Pair(model=EIGHT, precision="fp16", gpu="A100-80", tensor=2, source=NIM, why=LATENCY),
    Pair(model=EIGHT, precision="fp16", gpu="H100-80", tensor=1, source=NIM),
    Pair(model=EIGHT, precision="fp16", gpu="H100-80", tensor=2, source=NIM, why=LATENCY),
    Pair(model=EIGHT, precision="fp8", gpu="H100-80", tensor=2, source=NIM, why=LATENCY),
    Pair(model=EIGHT, precision="fp8", gpu="B200-180", tensor=1, source=INFERRED),
    Pair(model=EIGHT, precision="fp16", gpu="L40S-48", tensor=1, source=NIM),
    Pair(model=EIGHT, precision="fp8", gpu="L40S-48", tensor=1, source=NIM),
    Pair(model=EIGHT, precision="fp16", gpu="L40S-48", tensor=2, source=NIM, why=LATENCY),
    # A 24 GB GPU holds an 8B in 16 bits with little cache: NIM names no concurrency, four sequences of 8192 fit.
    Pair(model="llama-3-8b-instruct", precision="fp16", gpu="A10G-24", tensor=1, context=8192, concurrency=4,
         source=NIM),
    Pair(model=EIGHT, precision="fp16", gpu="A10G-24", tensor=2, context=8192, source=NIM),
    Pair(model=EIGHT, precision="fp16", gpu="A10G-24", tensor=4, context=8192, source=NIM, why=LATENCY),
    Pair(model=SEVENTY, precision="fp16", gpu="A100-80", tensor=4, context=8192, source=NIM),
    Pair(model=SEVENTY, precision="fp16", gpu="A100-80", tensor=8, context=8192, source=NIM,
         why="the documents take 8 for contexts of a million tokens"),
    # The charts name no load; four sequences fit beside the weights.
    Pair(model=SEVENTY, precision="fp16", gpu="A100-40", tensor=4, context=8192, concurrency=4, source=CHART),
    Pair(model=SEVENTY, precision="fp16", gpu="A10G-24", tensor=8, context=8192, concurrency=8, source=CHART),
    Pair(model=SEVENTY, precision="fp8", gpu="L40S-48", tensor=4, context=8192, source=INFERRED),
    Pair(model=LARGE, precision="int4-awq", gpu="A100-80", tensor=8, source=INFERRED,
         why="four GPUs hold the four-bit weights; eight leave room for a larger load"),
    Pair(model=LARGE, precision="bf16", gpu="A100-80", tensor=8, pipeline=2, source=INFERRED),
    Pair(model=LARGE, precision="bf16", gpu="H100-80", tensor=8, pipeline=2, source=LWS),
    # The guide's classes: 8 to 70, 70 to 300, and more than 300 billion parameters.
    Pair(model=MIDDLE, precision="bf16", gpu="H100-80", tensor=1, concurrency=8, source=GUIDE),
    Pair(model=MIDDLE, precision="bf16", gpu="A100-80", tensor=1, concurrency=8, source=GUIDE),
    Pair(model=MIDDLE, precision="bf16", gpu="L40S-48", tensor=2, concurrency=8, source=GUIDE),
    Pair(model=MIDDLE, precision="bf16", gpu="A10G-24", tensor=4, concurrency=8, source=GUIDE),
    Pair(model=SEVENTY, precision="bf16", gpu="H100-80", tensor=4, context=8192, source=GUIDE),
    Pair(model=SEVENTY, precision="bf16", gpu="A100-80", tensor=4, context=8192, source=GUIDE),
    Pair(model=SEVENTY, precision="bf16", gpu="L40S-48", tensor=8, context=8192, source=GUIDE),
    Pair(model=SEVENTY, precision="bf16", gpu="A10G-24", tensor=8, pipeline=2, context=8192, source=GUIDE),
    Pair(model=LARGE, precision="fp8", gpu="H100-80", tensor=8, source=GUIDE),
    Pair(model=LARGE, precision="int4-awq", gpu="A100-80", tensor=8, source=GUIDE, why=HEADROOM),
    Pair(model=LARGE, precision="int4-awq", gpu="L40S-48", tensor=8, pipeline=2, source=GUIDE, why=HEADROOM),
    Pair(model=LARGE, precision="int4-awq", gpu="A10G-24", tensor=8, pipeline=4, source=GUIDE, why=HEADROOM),
]  # fmt: skip


def answer(pair: Pair, **cut: Any) -> Any:
    ask = Ask(precision=pair.precision, context_length=pair.context, max_concurrency=pair.concurrency, **cut)
    inventory = hypothetical(gpu=pair.gpu, per_node=pair.per_node)
    return plan(model=with_estimates(packaged_catalog().models[pair.model]), ask=ask, inventory=inventory)


def test_every_published_pair_is_feasible_and_none_needs_more_gpus_here() -> None:
    lines, wrong = [], []
    for pair in PAIRS:
        published, ours = answer(pair, tensor=pair.tensor, pipeline=pair.pipeline), answer(pair)
        name = f"{pair.model:<26} {pair.precision:<9} {pair.gpu:<16}"
        if not isinstance(published, Plan) or not isinstance(ours, Plan):
            wrong.append(f"{name}: judged not feasible: {published}")
            continue
        lines.append(
            f"{name} TP{pair.tensor} x PP{pair.pipeline}: {published.gpus:>2}   ours TP{ours.tensor_parallel}"
            f" x PP{ours.pipeline_parallel}: {ours.gpus:>2}   {pair.source}{'; ' + pair.why if pair.why else ''}"
        )
        if ours.gpus > published.gpus:
            wrong.append(f"{name}: {ours.gpus} GPUs, published {published.gpus}")
        if (ours.gpus < published.gpus) != bool(pair.why):
            wrong.append(f"{name}: {ours.gpus} of {published.gpus} GPUs, explained by: {pair.why or 'nothing'}")
    print("\n" + "\n".join(lines))
    assert wrong == []


@pytest.mark.parametrize(
    "pair",
    [pair for pair in PAIRS if pair.source == PERF],
    ids=lambda pair: f"{pair.model}-{pair.precision}-{pair.gpu}",
)
def test_the_longest_benchmark_of_the_performance_overview_fits_each_published_cut(pair: Pair) -> None:
    """20000 tokens in, 2000 out."""
    ask = Ask(precision=pair.precision, context_length=22000, max_concurrency=1, tensor=pair.tensor, pipeline=1)
    model = with_estimates(packaged_catalog().models[pair.model])
    assert isinstance(plan(model=model, ask=ask, inventory=hypothetical(gpu=pair.gpu)), Plan)
