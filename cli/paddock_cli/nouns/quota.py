"""Set what a tenant may use."""

from typing import Annotated

import typer

from paddock_cli import limits
from paddock_cli.client import Client
from paddock_cli.errors import UsageError
from paddock_cli.output import Output, OutputOption, print_fields, show

app = typer.Typer(help=__doc__, no_args_is_help=True)
Tenant = Annotated[str, typer.Option(help="The tenant.")]


@app.command("set")
def set_limits(
    tenant: Tenant,
    requests_per_minute: limits.RequestsPerMinute = None,
    input_tokens_per_minute: limits.InputTokensPerMinute = None,
    output_tokens_per_minute: limits.OutputTokensPerMinute = None,
    concurrent_requests: limits.ConcurrentRequests = None,
    max_output_tokens: limits.MaxOutputTokens = None,
    unset: Annotated[list[str] | None, typer.Option(help="Name of a limit to lift; may be repeated.")] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Change limits; those that are not named stay as they are."""
    changes = limits.given(
        requests_per_minute=requests_per_minute,
        input_tokens_per_minute=input_tokens_per_minute,
        output_tokens_per_minute=output_tokens_per_minute,
        concurrent_requests=concurrent_requests,
        max_output_tokens=max_output_tokens,
    )
    client = Client()
    current = client.get(f"/v1/tenants/{tenant}")["tenant"]["limits"]
    lifted = {name.replace("-", "_"): None for name in unset or []}
    unknown = sorted(set(lifted) - set(current))
    if unknown or not (changes or lifted):
        raise UsageError(
            f"no limit is called {', '.join(unknown)}" if unknown else "nothing to set",
            advice=f"limits are {', '.join(name.replace('_', '-') for name in current)}",
        )
    changed = client.put(f"/v1/tenants/{tenant}/limits", {**current, **changes, **lifted})
    show({"tenant": tenant, **changed["limits"]}, output=output, table=print_fields)


@app.command("show")
def show_limits(tenant: Tenant, output: OutputOption = Output.TABLE) -> None:
    """Show a tenant's limits; empty means that there is none."""
    found = Client().get(f"/v1/tenants/{tenant}")["tenant"]
    show({"tenant": tenant, **found["limits"]}, output=output, table=print_fields)
