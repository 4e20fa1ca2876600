"""Manage tenants: who owns namespaces, deployments and keys."""

import time
from typing import Annotated, Any

import typer

from paddock_cli.client import Client
from paddock_cli.durations import seconds
from paddock_cli.output import Output, OutputOption, limits_text, moment, print_fields, print_rows, say, show

app = typer.Typer(help=__doc__, no_args_is_help=True)
namespaces = typer.Typer(help="Kubernetes namespaces of a tenant.", no_args_is_help=True)
tokens = typer.Typer(help="Admin tokens of a tenant.", no_args_is_help=True)
app.add_typer(namespaces, name="namespace")
app.add_typer(tokens, name="token")
TokenId = Annotated[str, typer.Argument(help="Id of the token (not the token).")]
DAY_SECONDS = 86_400


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


@app.command("end-user-groups")
def end_user_groups(
    tenant: str,
    group: Annotated[list[str] | None, typer.Option(help="Name of a group; may be repeated. None: no groups.")] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Set the groups of end users that reports tell apart; requests name theirs in `metadata.end_user_group`."""
    changed = Client().put(f"/v1/tenants/{tenant}/end-user-groups", {"groups": group or []})
    show({"tenant": tenant, "groups": changed["end_user_groups"]}, output=output, table=print_fields)


@namespaces.command()
def add(tenant: str, namespace: str, output: OutputOption = Output.TABLE) -> None:
    """Let the tenant's deployments live in a Kubernetes namespace."""
    show(Client().put(f"/v1/tenants/{tenant}/namespaces/{namespace}"), output=output, table=print_fields)


@namespaces.command()
def remove(tenant: str, namespace: str, output: OutputOption = Output.TABLE) -> None:
    """Take a namespace away: what is deployed there stops at once, and what is being answered is cut."""
    Client().delete(f"/v1/tenants/{tenant}/namespaces/{namespace}")
    show({"removed": namespace}, output=output, table=print_fields)


@tokens.command("create")
def create_token(
    tenant: str,
    name: Annotated[str | None, typer.Option(help="Whose it is, or what for.")] = None,
    days: Annotated[float | None, typer.Option(min=0, help="Days until it expires; never, if not given.")] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Issue another admin token. It is printed once."""
    body = {"name": name, "expires_at": None if days is None else time.time() + days * DAY_SECONDS}
    show(Client().post(f"/v1/tenants/{tenant}/admin-tokens", body), output=output, table=_token)


@tokens.command("list")
def list_tokens(tenant: str, output: OutputOption = Output.TABLE) -> None:
    """List a tenant's admin tokens, ended ones too."""
    show(list(Client().items(f"/v1/tenants/{tenant}/admin-tokens")), output=output, table=_tokens)


@tokens.command("rotate")
def rotate_token(
    tenant: str,
    token: TokenId,
    overlap: Annotated[str, typer.Option(help="How long the secret that it has still works: 0, 90m, 24h, 7d.")] = "0",
    output: OutputOption = Output.TABLE,
) -> None:
    """Give a token a new secret. It is printed once; the old one works for the overlap."""
    body = {"overlap_seconds": seconds(overlap)}
    show(Client().post(f"/v1/tenants/{tenant}/admin-tokens/{token}/rotation", body), output=output, table=_token)


@tokens.command("revoke")
def revoke_token(tenant: str, token: TokenId, output: OutputOption = Output.TABLE) -> None:
    """Revoke an admin token, at once."""
    Client().delete(f"/v1/tenants/{tenant}/admin-tokens/{token}")
    show({"revoked": token}, output=output, table=print_fields)


def _token(made: dict[str, Any]) -> None:
    print_fields({"id": made["id"], "tenant": made["tenant"], "admin token": made["admin_token"]})
    say("Store the token now: it is not shown again.")
    if not made["signs"]:
        say("It issues no links of signatories: that takes the entity's first admin token, or one issued with it.")
    if made["previous_until"] is not None:
        say(f"The secret before it works until {moment(made['previous_until'])}.")


def _tokens(found: list[dict[str, Any]]) -> None:
    rows = [
        (
            item["id"],
            item["name"],
            "revoked" if item["revoked_at"] else "active",
            item["issued_by"],
            "yes" if item["signs"] else "no",
            moment(item["expires_at"]) or "never",
            moment(item["previous_until"]),
        )
        for item in found
    ]
    print_rows(rows, "TOKEN", "NAME", "STATE", "ISSUED BY", "ISSUES LINKS", "EXPIRES", "OLD SECRET UNTIL")


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
            "gpus": "as the platform gives every tenant" if tenant["gpus"] is None else tenant["gpus"],
            "priced": "yes" if tenant["priced"] else "no",
        }
    )


def _table(tenants: list[dict[str, Any]]) -> None:
    rows = [(item["id"], item["entity"], limits_text(item["limits"])) for item in tenants]
    print_rows(rows, "TENANT", "ENTITY", "LIMITS")
