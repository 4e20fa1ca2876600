"""Look at the models that the platform knows; register those that were made from them."""

from pathlib import Path
from typing import Annotated, Any

import typer

from paddock_cli.checking import document
from paddock_cli.client import Client
from paddock_cli.errors import UsageError
from paddock_cli.output import Output, OutputOption, print_fields, print_rows, say, show

app = typer.Typer(help=__doc__, no_args_is_help=True)
BILLION = 1e9


@app.command("list")
def list_models(
    *,
    registered: Annotated[bool, typer.Option("--registered", help="Only those that somebody registered.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """List the models: of the catalogue, and the registered ones that you may see."""
    found = [item for item in Client().items("/v1/models") if item["registered"] or not registered]
    show(found, output=output, table=_table)


@app.command("show")
def show_model(model: str, output: OutputOption = Output.TABLE) -> None:
    """Show a model: sizes, licenses, checkpoints, and what it was made from."""
    show(Client().get(f"/v1/models/{model}"), output=output, table=_one)


@app.command()
def notice(model: str, output: OutputOption = Output.TABLE) -> None:
    """Show the notices and attributions that go with a model."""
    show(Client().get(f"/v1/models/{model}/notice"), output=output, table=_notices)


@app.command()
def register(
    model: Annotated[str, typer.Argument(help="Its id, lower case.")],
    base: Annotated[str, typer.Option(help="Id of the model that it was made from.")],
    kind: Annotated[str, typer.Option(help="fine_tune, adapter, merge, quantization or distillation.")] = "fine_tune",
    name: Annotated[str | None, typer.Option(help="The name under which others see it.")] = None,
    teacher: Annotated[
        list[str] | None, typer.Option(help="A model whose outputs it was trained on; may be repeated.")
    ] = None,
    merged_with: Annotated[
        list[str] | None, typer.Option(help="For a merge: another model whose weights went into it; may be repeated.")
    ] = None,
    owner: Annotated[str | None, typer.Option(help="Tenant that it belongs to; your own, or the platform.")] = None,
    weights: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="YAML or JSON: precision, format, bytes, source, files."),
    ] = None,
    published: Annotated[
        bool | None, typer.Option("--published/--private", help="Every tenant may see and deploy it, or nobody else.")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Register a model that was made from another one. It inherits the licenses and duties of what it was made from."""
    body = {
        "id": model,
        "base": base,
        "kind": kind,
        "public_name": name,
        "teachers": teacher or [],
        "merged_with": merged_with or [],
        "owner": owner,
        "published": published,
        "weights": None if weights is None else _weights(weights),
    }
    made = Client().post("/v1/models", body)
    for warning in made["warnings"]:
        say(f"warning: {warning}")
    show(made, output=output, table=_registered)


@app.command()
def delete(model: str) -> None:
    """Delete a registered model. Deployments of it drain and go."""
    Client().delete(f"/v1/models/{model}")


def _weights(path: Path) -> dict[str, Any]:
    found = document(path)
    if not isinstance(found, dict):
        raise UsageError(f"{path} holds no checkpoint", advice="write it as `weights` in examples/fine-tune.yaml")
    return found


def _table(models: list[dict[str, Any]]) -> None:
    rows = [
        (
            item["id"],
            f"{item['parameters'] / BILLION:.2f}B",
            item["context_length"],
            ", ".join(item["licenses"]),
            item["default_engine"],
            "" if item["registered"] is None else item["registered"]["base"],
        )
        for item in models
    ]
    print_rows(rows, "MODEL", "SIZE", "CONTEXT", "LICENSES", "ENGINE", "MADE FROM", right=["SIZE", "CONTEXT"])


def _one(model: dict[str, Any]) -> None:
    shown = {name: model[name] for name in ("id", "title", "public_name", "family", "parameters", "context_length")}
    checkpoints = (
        f"{name} ({item['format']}, {item['bytes'] / 2**30:.1f} GiB)" for name, item in model["weights"].items()
    )
    print_fields(
        {
            **shown,
            "licenses": ", ".join(model["licenses"]),
            "checkpoints": ", ".join(checkpoints),
            **_origin(model["registered"]),
        }
    )


def _origin(made: dict[str, Any] | None) -> dict[str, Any]:
    if made is None:
        return {}
    seen = {True: "published", False: "private", None: "not stated"}[made["published"]]
    parents = " and ".join((made["base"], *made["merged_with"]))
    return {
        "made from": f"{parents} ({made['kind']})",
        "taught by": ", ".join(made["teachers"]) or "no other model",
        "owner": made["owner"] or "the platform",
        "seen by others": seen,
    }


def _registered(made: dict[str, Any]) -> None:
    model = made["model"]
    print_fields(
        {
            "id": model["id"],
            **_origin(model),
            "licenses": ", ".join(made["licenses"]),
            "weights": model["precision"] or "none",
        }
    )


def _notices(found: dict[str, Any]) -> None:
    for entry in found["notices"]:
        print_fields({"license": entry["title"], "show": "; ".join(entry["attribution"]), "notice": entry["notice"]})
