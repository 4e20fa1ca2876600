"""Look at the models that the platform knows."""

from typing import Any

import typer

from paddock_cli.client import Client
from paddock_cli.output import Output, OutputOption, print_fields, print_rows, show

app = typer.Typer(help=__doc__, no_args_is_help=True)
BILLION = 1e9


@app.command("list")
def list_models(output: OutputOption = Output.TABLE) -> None:
    """List the models."""
    show(list(Client().items("/v1/models")), output=output, table=_table)


@app.command("show")
def show_model(model: str, output: OutputOption = Output.TABLE) -> None:
    """Show a model: sizes, licenses, checkpoints."""
    show(Client().get(f"/v1/models/{model}"), output=output, table=_one)


@app.command()
def notice(model: str, output: OutputOption = Output.TABLE) -> None:
    """Show the notices and attributions that go with a model."""
    show(Client().get(f"/v1/models/{model}/notice"), output=output, table=_notices)


def _table(models: list[dict[str, Any]]) -> None:
    rows = [
        (
            item["id"],
            f"{item['parameters'] / BILLION:.2f}B",
            item["context_length"],
            ", ".join(item["licenses"]),
            item["default_engine"],
        )
        for item in models
    ]
    print_rows(rows, "MODEL", "SIZE", "CONTEXT", "LICENSES", "ENGINE", right=["SIZE", "CONTEXT"])


def _one(model: dict[str, Any]) -> None:
    shown = {name: model[name] for name in ("id", "title", "public_name", "family", "parameters", "context_length")}
    checkpoints = (
        f"{name} ({item['format']}, {item['bytes'] / 2**30:.1f} GiB)" for name, item in model["weights"].items()
    )
    print_fields({**shown, "licenses": ", ".join(model["licenses"]), "checkpoints": ", ".join(checkpoints)})


def _notices(found: dict[str, Any]) -> None:
    for entry in found["notices"]:
        print_fields({"license": entry["title"], "show": "; ".join(entry["attribution"]), "notice": entry["notice"]})
