"""Set and list what tokens cost."""

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from paddock_cli.client import Client
from paddock_cli.errors import UsageError
from paddock_cli.moments import moment_of
from paddock_cli.output import Output, OutputOption, moment, print_fields, print_rows, show

app = typer.Typer(help=__doc__, no_args_is_help=True)

Model = Annotated[str | None, typer.Option(help="For every deployment of this model.")]
Deployment = Annotated[str | None, typer.Option(help="For this deployment, <namespace>/<name>.")]
Tenant = Annotated[str | None, typer.Option(help="Only for this tenant's requests.")]
From = Annotated[
    str | None, typer.Option("--from", help="From when on (2026-12-01, 2026-12-01T10:00); now if left out.")
]
Currency = Annotated[str, typer.Option(help="ISO 4217.")]
Amount = Annotated[str | None, typer.Option(help="As --input-tokens or --output-tokens if left out.")]


@app.command("set")
def set_price(
    input_: Annotated[str, typer.Option("--input-tokens", help="Price of a million input tokens, such as 0.15.")],
    output_: Annotated[str, typer.Option("--output-tokens", help="Price of a million output tokens.")],
    model: Model = None,
    deployment: Deployment = None,
    tenant: Tenant = None,
    currency: Currency = "USD",
    begin: From = None,
    cache_read: Amount = None,
    cache_write: Amount = None,
    reasoning: Amount = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Set the price of a million tokens from a moment on. Requests admitted before it keep their price."""
    prices = {
        "input_uncached": _nano(input_),
        "output_text": _nano(output_),
        "cache_read": _nano(cache_read),
        "cache_write": _nano(cache_write),
        "output_reasoning": _nano(reasoning),
    }
    _post(prices, output, model=model, deployment=deployment, tenant=tenant, currency=currency, begin=begin)


@app.command()
def end(
    model: Model = None,
    deployment: Deployment = None,
    tenant: Tenant = None,
    currency: Currency = "USD",
    begin: From = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """End a price: from then on the next wider one holds (tenant's deployment, tenant's model, deployment, model)."""
    _post(None, output, model=model, deployment=deployment, tenant=tenant, currency=currency, begin=begin)


@app.command("list")
def list_prices(
    tenant: Annotated[str | None, typer.Option(help="What this tenant may pay: general prices and its own.")] = None,
    model: Model = None,
    deployment: Deployment = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List the price book in the order in which it was written. Later entries replace earlier ones of their scope."""
    items = list(Client().items("/v1/prices", tenant=tenant, model=model, deployment=deployment))
    show(items, output=output, table=_table)


def _post(
    prices: dict[str, int | None] | None,
    output: Output,
    *,
    model: str | None,
    deployment: str | None,
    tenant: str | None,
    currency: str,
    begin: str | None,
) -> None:
    if (model is None) == (deployment is None):
        raise UsageError("a price is for a model or for a deployment", advice="give --model or --deployment")
    body = {
        "model": model,
        "deployment": deployment,
        "tenant": tenant,
        "currency": currency,
        "effective_from": moment_of(begin, datetime.now(UTC)),
        "prices": prices,
    }
    show(Client().post("/v1/prices", body), output=output, table=lambda made: print_fields(_shown(made)))


def _nano(text: str | None) -> int | None:
    from paddock_core.usage.money import AmountError, parse_amount

    try:
        return None if text is None else parse_amount(text)
    except AmountError as error:
        raise UsageError(str(error)) from error


def _shown(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry for people: prices of a million tokens as decimals."""
    from paddock_core.usage.buckets import NAMES
    from paddock_core.usage.money import format_amount

    prices = entry["prices"]
    return {
        "price": entry["price_id"],
        "for": entry["deployment"] or entry["model"],
        "tenant": entry["tenant"] or "everybody",
        "from": moment(entry["effective_from"]),
        "currency": entry["currency"],
        **{name: format_amount(prices[name]) if prices else "ended" for name in NAMES},
    }


def _table(items: list[dict[str, Any]]) -> None:
    rows = [tuple(_shown(item).values()) for item in items]
    amounts = ("INPUT", "CACHE READ", "CACHE WRITE", "OUTPUT", "REASONING")
    print_rows(rows, "PRICE", "FOR", "TENANT", "FROM", "CURRENCY", *amounts, right=amounts)
