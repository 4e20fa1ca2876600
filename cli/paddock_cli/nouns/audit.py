"""Read the audit log."""

from typing import Annotated, Any

import typer

from paddock_cli.client import Client
from paddock_cli.output import Output, OutputOption, print_rows, show

app = typer.Typer(help=__doc__, no_args_is_help=True)


@app.callback()
def audit() -> None:
    """Read the audit log."""


@app.command("list")
def list_entries(
    after: Annotated[int, typer.Option(min=0, help="Begin after this number.")] = 0,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many entries.")] = 200,
    output: OutputOption = Output.TABLE,
) -> None:
    """List entries, oldest first, and the signed head of their chain."""
    show(Client().get("/v1/audit", after=after, limit=limit), output=output, table=_table)


def _table(page: dict[str, Any]) -> None:
    rows = [
        (item["seq"], item["at"][:19], item["actor"], item["action"], item["subject"], item["entity"] or item["tenant"])
        for item in page["items"]
    ]
    print_rows(rows, "NUMBER", "TIME", "ACTOR", "ACTION", "SUBJECT", "OF", right=["NUMBER"])
