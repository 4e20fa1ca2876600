"""Manage tenants: who owns namespaces, deployments and keys."""

from typing import Annotated, Any

import typer

from paddock_cli.client import Client
from paddock_cli.output import Output, OutputOption, limits_text, print_fields, print_rows, say, show

app = typer.Typer(help=__doc__, no_args_is_help=True)
namespaces = typer.Typer(help="Kubernetes namespaces of a tenant.", no_args_is_help=True)
app.add_typer(namespaces, name="namespace")


@app.command()
def create(
    tenant: Annotated[str, typer.Argument(help="Id, lower case.")],
    entity: Annotated[str, typer.Option(help="The legal entity that it belongs to.")],
    *,
    priced: Annotated[bool, typer.Option("--priced", help="The tenant pays for what it uses.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Create a tenant. Its admin token is printed once."""
    created = Client().post("/v1/tenants", {"id": tenant, "entity": entity, "priced": priced})
    show(created, output=output, table=_created)


@app.command("list")
def list_tenants(output: OutputOption = Output.TABLE) -> None:
    """List the tenants."""
    show(list(Client().items("/v1/tenants")), output=output, table=_table)


@app.command("show")
def show_tenant(tenant: str, output: OutputOption = Output.TABLE) -> None:
    """Show a tenant and its namespaces."""
    show(Client().get(f"/v1/tenants/{tenant}"), output=output, table=_one)


@namespaces.command()
def add(tenant: str, namespace: str, output: OutputOption = Output.TABLE) -> None:
    """Let the tenant's deployments live in a Kubernetes namespace."""
    show(Client().put(f"/v1/tenants/{tenant}/namespaces/{namespace}"), output=output, table=print_fields)


@namespaces.command()
def remove(tenant: str, namespace: str, output: OutputOption = Output.TABLE) -> None:
    """Take a namespace away: what is deployed there stops."""
    Client().delete(f"/v1/tenants/{tenant}/namespaces/{namespace}")
    show({"removed": namespace}, output=output, table=print_fields)


def _created(created: dict[str, Any]) -> None:
    print_fields({"tenant": created["tenant"]["id"], "admin token": created["admin_token"]})
    say("Store the token now: it is not shown again.")


def _one(found: dict[str, Any]) -> None:
    tenant = found["tenant"]
    names = ", ".join(item["id"] for item in found["namespaces"]) or "none"
    print_fields(
        {
            "tenant": tenant["id"],
            "entity": tenant["entity"],
            "namespaces": names,
            "limits": limits_text(tenant["limits"]),
            "priced": "yes" if tenant["priced"] else "no",
        }
    )


def _table(tenants: list[dict[str, Any]]) -> None:
    rows = [(item["id"], item["entity"], limits_text(item["limits"])) for item in tenants]
    print_rows(rows, "TENANT", "ENTITY", "LIMITS")
