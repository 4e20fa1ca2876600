"""`paddock license users`: distinct end users as the platform counted them, and how near thresholds they come."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

import typer

from paddock_cli.client import Client
from paddock_cli.errors import DeniedError
from paddock_cli.output import print_json, print_rows

BAR_WIDTH = 40
_FIGURES = ("users", "low", "high")
_COLUMNS = ("kind", "entity", "tenant", "product", "day", *_FIGURES, "license", "threshold", "warning")


class UsersOutput(StrEnum):
    """In which form."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def users(
    month: Annotated[str | None, typer.Option(help="The month in UTC, 2026-11; this one if left out.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant: with its products and days.")] = None,
    output: Annotated[UsersOutput, typer.Option("-o", "--output", help="In which form.")] = UsersOutput.TABLE,
) -> None:
    """See how many distinct end users were counted, and how near licenses' thresholds that comes."""
    client, chosen = Client(), month or datetime.now(UTC).strftime("%Y-%m")
    found: dict[str, Any] = {
        "month": chosen,
        "tenants": list(client.items("/v1/active-users", month=chosen, tenant=tenant, by_day=True)),
        "entities": [],
    }
    if tenant is None:
        try:
            found["entities"] = list(client.items("/v1/active-users/entities", month=chosen))
        except DeniedError:  # a tenant's admin sees the tenant alone
            del found["entities"]
    if output is UsersOutput.JSON:
        print_json(found)
    elif output is UsersOutput.CSV:
        typer.echo(as_csv(found), nl=False)
    else:
        _table(found)


def near_thresholds(entities: Iterable[Mapping[str, Any]]) -> Iterator[tuple[Any, ...]]:
    """A row for each entity and threshold: entity, at least, at most, tenants, threshold, share, warning."""
    for entity in entities:
        figures = tuple(entity[name] for name in ("entity", "low", "high", "tenants"))
        for near in entity["thresholds"]:
            share = f"{near['share_low'] * 100:.1f} % to {near['share_high'] * 100:.1f} %"
            yield (*figures, near["value"], share, _warning(near["warning"]))


def as_csv(found: Mapping[str, Any]) -> str:
    """One table; `kind` says what a row is about: tenant, product, day or entity."""
    file = io.StringIO()
    writer = csv.DictWriter(file, _COLUMNS, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for tenant in found["tenants"]:
        place = {"entity": tenant["entity"], "tenant": tenant["tenant"]}
        writer.writerow({**tenant, "kind": "tenant"})
        writer.writerows({**item, **place, "kind": "product"} for item in tenant["products"])
        writer.writerows({**item, **place, "kind": "day"} for item in tenant["days"])
    for entity in found.get("entities", []):
        for near in entity["thresholds"] or [{}]:
            row = {"license": near.get("license"), "threshold": near.get("value"), "warning": near.get("warning")}
            figures = {name: entity[name] for name in ("entity", "low", "high")}
            writer.writerow({"kind": "entity", **figures, **row})
    return file.getvalue()


def _table(found: Mapping[str, Any]) -> None:
    tenants = found["tenants"]
    typer.echo(f"Distinct end users in {found['month']} (UTC), estimated; 95 % sure to lie between the bounds")
    if not tenants:
        typer.echo("None: no request of that month named its `user` or `safety_identifier`.")
        return
    if len(tenants) == 1:
        _one_tenant(tenants[0])
    else:
        _bars(((item["tenant"], item["entity"], *_figures(item)) for item in tenants), "TENANT", "ENTITY")
    near = list(near_thresholds(found.get("entities", [])))
    if near:
        typer.echo(
            "\nThresholds of accepted licenses. Users of two tenants of an entity cannot be matched: at least the"
        )
        typer.echo("largest tenant, at most the sum. What counts in law is the entity's own statement.")
        columns = ("AT LEAST", "AT MOST", "TENANTS", "THRESHOLD")
        rows = [(row[0], *(f"{figure:,}" for figure in row[1:5]), *row[5:]) for row in near]
        print_rows(rows, "ENTITY", *columns, "SHARE", "", right=columns)


def _one_tenant(tenant: Mapping[str, Any]) -> None:
    products = [(item["product"], *_figures(item)) for item in tenant["products"]]
    _bars([*products, (f"all of {tenant['tenant']}", *_figures(tenant))], "PRODUCT")
    if tenant["days"]:
        typer.echo()
        _bars(((item["day"], *_figures(item)) for item in tenant["days"]), "DAY")


def _figures(item: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(item[name] for name in _FIGURES)


def _bars(rows: Iterable[tuple[Any, ...]], *names: str) -> None:
    """Names, then users and their bounds, then a bar for the users."""
    found = list(rows)
    most = max(row[len(names)] for row in found)
    columns = ("USERS", "AT LEAST", "AT MOST")
    shown = []
    for row in found:
        figures = row[len(names) :]
        bar = "█" * max(round(BAR_WIDTH * figures[0] / most), 1) if figures[0] else ""
        shown.append((*row[: len(names)], *(f"{figure:,}" for figure in figures), bar))
    print_rows(shown, *names, *columns, "", right=columns)


def _warning(percent: int | None) -> str:
    return "" if percent is None else f"may have reached {percent} %"
