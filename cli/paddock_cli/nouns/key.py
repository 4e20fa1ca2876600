"""Issue, rotate and revoke API keys."""

import time
from typing import Annotated, Any

import typer
from paddock_core.keys import SCOPES

from paddock_cli import limits
from paddock_cli.client import Client
from paddock_cli.durations import seconds
from paddock_cli.errors import NotFoundError
from paddock_cli.output import Output, OutputOption, limits_text, moment, print_fields, print_rows, say, show

app = typer.Typer(help=__doc__, no_args_is_help=True)
Tenant = Annotated[str, typer.Option(help="The tenant that the key belongs to.")]
DAY_SECONDS = 86_400


@app.command()
def create(
    tenant: Tenant,
    name: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    days: Annotated[float | None, typer.Option(min=0, help="Days until it expires; never, if not given.")] = None,
    model: Annotated[list[str] | None, typer.Option(help="Served model that it may call; may be repeated.")] = None,
    scope: Annotated[list[str] | None, typer.Option(help=f"What it may do ({', '.join(SCOPES)}); else all.")] = None,
    project: Annotated[str | None, typer.Option(help="Project of the tenant that it belongs to.")] = None,
    requests_per_minute: limits.RequestsPerMinute = None,
    input_tokens_per_minute: limits.InputTokensPerMinute = None,
    output_tokens_per_minute: limits.OutputTokensPerMinute = None,
    concurrent_requests: limits.ConcurrentRequests = None,
    max_output_tokens: limits.MaxOutputTokens = None,
    max_context_tokens: limits.MaxContextTokens = None,
    tokens_per_day: limits.TokensPerDay = None,
    tokens_per_month: limits.TokensPerMonth = None,
    money_per_month: limits.MoneyPerMonth = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Issue a key. It is printed once."""
    body = {
        "name": name,
        "expires_at": None if days is None else time.time() + days * DAY_SECONDS,
        "models": model or [],
        "scopes": scope or [],
        "project": project,
        "limits": limits.given(
            requests_per_minute=requests_per_minute,
            input_tokens_per_minute=input_tokens_per_minute,
            output_tokens_per_minute=output_tokens_per_minute,
            concurrent_requests=concurrent_requests,
            max_output_tokens=max_output_tokens,
            max_context_tokens=max_context_tokens,
            tokens_per_day=tokens_per_day,
            tokens_per_month=tokens_per_month,
            money_per_month_nano=limits.nano(money_per_month),
        ),
    }
    show(Client().post(f"/v1/tenants/{tenant}/keys", body), output=output, table=_created)


@app.command("set-limits")
def set_limits(
    key: Annotated[str, typer.Argument(help="Id of the key (not the key).")],
    tenant: Tenant,
    requests_per_minute: limits.RequestsPerMinute = None,
    input_tokens_per_minute: limits.InputTokensPerMinute = None,
    output_tokens_per_minute: limits.OutputTokensPerMinute = None,
    concurrent_requests: limits.ConcurrentRequests = None,
    max_output_tokens: limits.MaxOutputTokens = None,
    max_context_tokens: limits.MaxContextTokens = None,
    tokens_per_day: limits.TokensPerDay = None,
    tokens_per_month: limits.TokensPerMonth = None,
    money_per_month: limits.MoneyPerMonth = None,
    unset: limits.Unset = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Change an issued key's limits; those that are not named stay. Gateways go by them within seconds."""
    changes = limits.given(
        requests_per_minute=requests_per_minute,
        input_tokens_per_minute=input_tokens_per_minute,
        output_tokens_per_minute=output_tokens_per_minute,
        concurrent_requests=concurrent_requests,
        max_output_tokens=max_output_tokens,
        max_context_tokens=max_context_tokens,
        tokens_per_day=tokens_per_day,
        tokens_per_month=tokens_per_month,
        money_per_month_nano=limits.nano(money_per_month),
    )
    client = Client()
    found = next((item for item in client.items(f"/v1/tenants/{tenant}/keys") if item["id"] == key), None)
    if found is None:
        raise NotFoundError(f"tenant {tenant} has no key {key}", advice="see `paddock key list`")
    wanted = limits.changed(found["limits"], changes=changes, unset=unset)
    changed = client.put(f"/v1/tenants/{tenant}/keys/{key}/limits", wanted)
    show({"id": key, "tenant": tenant, **changed["limits"]}, output=output, table=print_fields)


@app.command("list")
def list_keys(tenant: Tenant, output: OutputOption = Output.TABLE) -> None:
    """List a tenant's keys, revoked ones too."""
    show(list(Client().items(f"/v1/tenants/{tenant}/keys")), output=output, table=_table)


@app.command()
def rotate(
    key: Annotated[str, typer.Argument(help="Id of the key (not the key).")],
    tenant: Tenant,
    overlap: Annotated[str, typer.Option(help="How long the secret that it has still works: 0, 90m, 24h, 7d.")] = "0",
    output: OutputOption = Output.TABLE,
) -> None:
    """Give a key a new secret. It is printed once; the old one works for the overlap."""
    body = {"overlap_seconds": seconds(overlap)}
    show(Client().post(f"/v1/tenants/{tenant}/keys/{key}/rotation", body), output=output, table=_rotated)


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(help="Id of the key (not the key).")],
    tenant: Tenant,
    output: OutputOption = Output.TABLE,
) -> None:
    """Revoke a key; gateways refuse it within seconds."""
    Client().delete(f"/v1/tenants/{tenant}/keys/{key}")
    show({"revoked": key}, output=output, table=print_fields)


def _created(created: dict[str, Any]) -> None:
    print_fields({"id": created["id"], "tenant": created["tenant"], "key": created["key"]})
    say("Store the key now: it is not shown again.")


def _rotated(rotated: dict[str, Any]) -> None:
    _created(rotated)
    say(f"The secret before it works until {moment(rotated['previous_until'])}.")


def _table(keys: list[dict[str, Any]]) -> None:
    rows = [
        (
            item["id"],
            item["name"],
            "revoked" if item["revoked_at"] else "active",
            moment(item["expires_at"]) or "never",
            moment(item["previous_until"]),
            ", ".join(item["models"]) or "all",
            ", ".join(item["scopes"]) or "all",
            limits_text(item["limits"]),
        )
        for item in keys
    ]
    print_rows(rows, "KEY", "NAME", "STATE", "EXPIRES", "OLD SECRET UNTIL", "MODELS", "SCOPES", "LIMITS")
