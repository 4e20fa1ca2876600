"""Show how a model would be cut for GPUs, and why."""

from dataclasses import asdict
from typing import Annotated, Any

import typer

from paddock_cli.errors import CliError, NotFoundError
from paddock_cli.output import Output, OutputOption, print_fields, show

app = typer.Typer(help=__doc__)


@app.command()
def plan(
    model: Annotated[str, typer.Argument(help="Catalogue id.")],
    gpu: Annotated[
        str | None, typer.Option(help="GPU product, for example H100-80; none means CPU nodes only.")
    ] = None,
    per_node: Annotated[int | None, typer.Option(min=1, help="GPUs in a node; the product's usual number.")] = None,
    nodes: Annotated[int, typer.Option(min=1, help="Nodes of this kind.")] = 8,
    engine: Annotated[str | None, typer.Option(help="LLMAPI or LlamaCpp.")] = None,
    precision: Annotated[str | None, typer.Option(help="One of the model's checkpoints.")] = None,
    context: Annotated[int | None, typer.Option(min=1, help="Tokens of prompt and answer together.")] = None,
    concurrency: Annotated[int | None, typer.Option(min=1, help="Sequences at once.")] = None,
    tensor: Annotated[int | None, typer.Option(min=1, help="Force this tensor parallelism.")] = None,
    pipeline: Annotated[int | None, typer.Option(min=1, help="Force this pipeline parallelism.")] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show how a model would be cut for GPUs, and why. Works without a control plane."""
    from paddock_core.catalog.packaged import packaged_catalog
    from paddock_core.planning.fit import plan as fit
    from paddock_core.planning.types import Ask, Refusal

    entry = packaged_catalog().model(model)
    if entry is None:
        raise NotFoundError(f"no model {model}", advice=f"there are {', '.join(sorted(packaged_catalog().models))}")
    ask = Ask(
        engine=engine,
        precision=precision,
        context_length=context,
        max_concurrency=concurrency,
        tensor=tensor,
        pipeline=pipeline,
    )
    answer = fit(model=entry, ask=ask, inventory=_inventory(gpu, per_node, nodes))
    if isinstance(answer, Refusal):
        raise CliError(f"{answer.reason}: {answer.message}", advice="; ".join(answer.alternatives))
    show({"model": model, **asdict(answer), "gpus": answer.gpus}, output=output, table=_table)


def _inventory(gpu: str | None, per_node: int | None, nodes: int) -> Any:
    from paddock_core.planning.gpus import gpu_table, hypothetical
    from paddock_core.planning.types import Inventory

    if gpu is None:
        return Inventory()
    if gpu not in gpu_table():
        raise NotFoundError(f"no GPU product {gpu}", advice=f"there are {', '.join(sorted(gpu_table()))}")
    return hypothetical(gpu=gpu, per_node=per_node, nodes=nodes)


def _table(plan: dict[str, Any]) -> None:
    from paddock_core.planning.explain import memory_bar
    from paddock_core.planning.types import MemoryUse

    print_fields(
        {
            "model": plan["model"],
            "engine": plan["engine"],
            "precision": plan["precision"],
            "tensor x pipeline": f"{plan['tensor_parallel']} x {plan['pipeline_parallel']}",
            "gpus": f"{plan['gpus']} {plan['gpu'] or ''}".strip(),
            "pods": f"{plan['pods_per_group']} with {plan['gpus_per_pod']} GPUs each",
            "context x sequences": f"{plan['context_length']} x {plan['max_concurrency']}",
            "memory": memory_bar(MemoryUse(**plan["per_gpu"])),
            "why": plan["explanation"],
        }
    )
