"""Show how a model would be cut for GPUs, and why."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from paddock_cli.errors import CliError, NotFoundError
from paddock_cli.output import Output, OutputOption, print_json, print_rows, say, show
from paddock_cli.planning import load_constants, load_runs, print_plan, write_constants

if TYPE_CHECKING:
    from paddock_core.catalog.types import ModelEntry
    from paddock_core.planning.types import Ask, Inventory, Plan, Refusal

DEFAULT = "model"
NAME_GPUS = "name GPUs with --gpu or --nodes, for example --gpu H100-80; `paddock plan table` shows which would do"


class ModelFirst(TyperGroup):
    """`paddock plan MODEL` stands for `paddock plan model MODEL`: what is no command is a model."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        known = {*self.commands, *ctx.help_option_names}
        return super().parse_args(ctx, args if not args or args[0] in known else [DEFAULT, *args])


app = typer.Typer(cls=ModelFirst, help=__doc__, no_args_is_help=True)
ConstantsOption = Annotated[
    Path | None, typer.Option("--constants", exists=True, dir_okay=False, help="YAML with constants to use instead.")
]


@app.command(DEFAULT)
def plan(
    model: Annotated[str, typer.Argument(help="Catalogue id.")],
    gpu: Annotated[str | None, typer.Option(help="GPU product, for example H100-80; on 8 usual nodes.")] = None,
    nodes: Annotated[
        list[str] | None,
        typer.Option(help="NODESxPRODUCTxGPUS, for example 4xH100-80x8; repeatable. With --gpu also a number alone."),
    ] = None,
    per_node: Annotated[int | None, typer.Option(min=1, help="GPUs in a node; the product's usual number.")] = None,
    mig: Annotated[str | None, typer.Option(help="On parts of this profile, for example 3g.40gb.")] = None,
    engine: Annotated[str | None, typer.Option(help="LLMAPI, TensorRTEngine or LlamaCpp.")] = None,
    precision: Annotated[str | None, typer.Option(help="Of the weights: bf16, fp16, fp8, int4-awq or nvfp4.")] = None,
    kv_precision: Annotated[str | None, typer.Option(help="Of the cache: bf16 or fp8.")] = None,
    context: Annotated[int | None, typer.Option(min=1, help="Tokens of prompt and answer together.")] = None,
    concurrency: Annotated[int | None, typer.Option(min=1, help="Sequences at once.")] = None,
    tensor: Annotated[int | None, typer.Option(min=1, help="Force this tensor parallelism.")] = None,
    pipeline: Annotated[int | None, typer.Option(min=1, help="Force this pipeline parallelism.")] = None,
    constants: ConstantsOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show how a model would be cut for GPUs, and why. Works without a control plane; without GPUs it plans for CPU."""
    from paddock_core.planning.types import Ask, Refusal, RefusalReason

    ask = Ask(
        engine=engine,
        precision=precision,
        kv_precision=kv_precision,
        context_length=context,
        max_concurrency=concurrency,
        tensor=tensor,
        pipeline=pipeline,
        gpu=gpu,
        mig_profile=mig,
    )
    entry = _entry(model)
    inventory = _inventory(gpu, nodes or [], per_node, mig)
    answer = _answer(entry, ask, inventory, constants)
    if isinstance(answer, Refusal) and answer.reason is RefusalReason.NO_GPU and not inventory.pools:
        raise CliError(f"{answer.reason}: {model} needs GPUs", advice=NAME_GPUS)
    if isinstance(answer, Refusal):
        raise CliError(f"{answer.reason}: {answer.message}", advice="; ".join(answer.alternatives))
    show({"model": model, **asdict(answer), "gpus": answer.gpus}, output=output, table=print_plan)


@app.command()
def table(
    precision: Annotated[list[str] | None, typer.Option(help="The first of these that the GPU computes in.")] = None,
    *,
    markdown: Annotated[bool, typer.Option("--markdown", help="Every table of docs/planning.md.")] = False,
    constants: ConstantsOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """All models by all GPUs: how each would be cut on eight usual nodes, for 16 sequences of at most 8192 tokens."""
    from paddock_core.catalog.packaged import packaged_catalog
    from paddock_core.planning import table as tables
    from paddock_core.planning.gpus import gpu_table

    models = packaged_catalog().models
    if markdown:
        typer.echo(tables.markdown(models), nl=False)
        return
    columns = ("model", "GiB", *gpu_table())
    rows = list(tables.rows(models, precisions=precision or (), constants=load_constants(constants)))
    if output is Output.JSON:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
    else:
        print_rows(rows, *columns, right=("GiB",))


@app.command()
def calibrate(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="Measured runs, CSV or JSON.")],
    write: Annotated[Path | None, typer.Option(help="Write the constants there, for --constants.")] = None,
    constants: ConstantsOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Fit the planner's constants to measured runs, and show what that changes.

    A run has model, gpu, after_load_mib (memory in use on one GPU after the weights are loaded) and kv_tokens (what the
    engine says that its cache holds); tensor, pipeline, precision, kv_precision and max_batch_size where they are not
    the default.
    """
    from paddock_core.catalog.packaged import packaged_catalog
    from paddock_core.planning.calibrate import calibrate as fit
    from paddock_core.planning.calibrate import changes
    from paddock_core.planning.constants import shown
    from paddock_core.planning.errors import PlanningError

    before, models = load_constants(constants), packaged_catalog().models
    try:
        found = fit(runs=load_runs(file), models=models, constants=before)
    except PlanningError as error:
        raise CliError(str(error), advice="docs/planning.md says what a run is") from error
    new, old = shown(found.constants), shown(before)
    fitted = {name: value for name, value in new.items() if value != old[name]}
    if write is not None:
        write_constants(write, fitted)
    cells = [asdict(change) for change in changes(models=models, before=before, after=found.constants)]
    if output is Output.JSON:
        print_json({"constants": fitted, "runs": _runs(found), "changes": cells})
        return
    print_rows([(name, f"{old[name]:g}", f"{value:g}") for name, value in fitted.items()], "constant", "was", "fits")
    print_rows([tuple(run.values()) for run in _runs(found)], "run of", "on", "measured", "planned", "fitted")
    print_rows([tuple(cell.values()) for cell in cells], "plan of", "on", "was", "becomes")


def _runs(found: Any) -> list[dict[str, Any]]:
    """The tokens that each run's cache held, beside what the planner promises."""
    return [
        {
            "model": checked.run.model,
            "gpu": checked.run.gpu,
            "measured_tokens": checked.run.kv_tokens,
            "planned_tokens": checked.tokens_before,
            "fitted_tokens": checked.tokens_after,
        }
        for checked in found.runs
    ]


def _entry(model: str) -> "ModelEntry":
    from paddock_core.catalog.packaged import packaged_catalog

    entry = packaged_catalog().model(model)
    if entry is None:
        raise NotFoundError(f"no model {model}", advice=f"there are {', '.join(sorted(packaged_catalog().models))}")
    return entry


def _answer(entry: "ModelEntry", ask: "Ask", inventory: "Inventory", constants: Path | None) -> "Plan | Refusal":
    """The planner's answer; for weights that the catalogue lacks, what it would be with an estimate of them."""
    from paddock_core.planning.fit import plan as fit
    from paddock_core.planning.types import Refusal, RefusalReason
    from paddock_core.planning.wish import with_estimates

    used = load_constants(constants)
    answer = fit(model=entry, ask=ask, inventory=inventory, constants=used)
    if not isinstance(answer, Refusal) or answer.reason is not RefusalReason.PRECISION_UNKNOWN:
        return answer
    guessed = fit(model=with_estimates(entry), ask=ask, inventory=inventory, constants=used)
    if isinstance(guessed, Refusal) and guessed.reason is answer.reason:
        return answer
    say(f"What if: {answer.message}")
    return guessed


def _inventory(gpu: str | None, nodes: list[str], per_node: int | None, mig: str | None) -> "Inventory":
    from paddock_core.planning.errors import PoolError
    from paddock_core.planning.gpus import DEFAULT_NODES, described, hypothetical
    from paddock_core.planning.types import Inventory

    try:
        if gpu is not None and len(nodes) <= 1 and "".join([*nodes, "1"]).isdigit():
            count = int(nodes[0]) if nodes else DEFAULT_NODES
            return hypothetical(gpu=gpu, per_node=per_node, nodes=count, mig_profile=mig)
        if not nodes and (mig, per_node) != (None, None):
            raise CliError("--mig and --per-node say something of GPUs, and there are none", advice=NAME_GPUS)
        return described(nodes, mig_profile=mig) if nodes else Inventory()
    except PoolError as error:
        raise NotFoundError(str(error)) from error
