"""Register legal entities: those who accept licenses."""

from typing import Annotated, Any

import typer

from paddock_cli.client import Client
from paddock_cli.output import Output, OutputOption, print_fields, print_rows, show, show_erased

app = typer.Typer(help=__doc__, no_args_is_help=True)


@app.command()
def create(
    entity: Annotated[str, typer.Argument(help="Id, lower case.")],
    legal_name: Annotated[str, typer.Option(help="Name as registered.")],
    place: Annotated[str, typer.Option(help="Principal place of business, two-letter country code.")],
    domicile: Annotated[str, typer.Option(help="Country of the domicile, where it is another one.")] = "",
    affiliate: Annotated[list[str] | None, typer.Option(help="Name of an affiliate; may be repeated.")] = None,
    *,
    operator: Annotated[bool, typer.Option("--operator", help="The one entity that runs this platform.")] = False,
    integrated_product: Annotated[
        bool,
        typer.Option("--integrated-product", help="Attested: it gets models only inside an integrated product."),
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Register a legal entity."""
    body = {
        "id": entity,
        "legal_name": legal_name,
        "principal_place_of_business": place.upper(),
        "affiliates": affiliate or [],
        "receives_integrated_product": integrated_product,
        "is_operator": operator,
        "domicile": domicile.upper(),
    }
    show(Client().post("/v1/entities", body), output=output, table=print_fields)


@app.command()
def update(
    entity: str,
    legal_name: Annotated[str | None, typer.Option(help="Name as registered.")] = None,
    place: Annotated[str | None, typer.Option(help="Principal place of business, two-letter country code.")] = None,
    domicile: Annotated[str | None, typer.Option(help="Country of the domicile; empty: as the place.")] = None,
    affiliate: Annotated[list[str] | None, typer.Option(help="Every affiliate from now on; may be repeated.")] = None,
    *,
    no_affiliates: Annotated[bool, typer.Option("--no-affiliates", help="It has none any more.")] = False,
    integrated_product: Annotated[
        bool | None,
        typer.Option(
            "--integrated-product/--no-integrated-product",
            help="Attested: it gets models only inside an integrated product.",
        ),
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Change what licenses ask of an entity; what is not given stays. Everything is decided anew by it."""
    known = Client().get(f"/v1/entities/{entity}")
    given = {
        "legal_name": legal_name,
        "principal_place_of_business": None if place is None else place.upper(),
        "domicile": None if domicile is None else domicile.upper(),
        "affiliates": [] if no_affiliates else affiliate,
        "receives_integrated_product": integrated_product,
    }
    body = {name: known[name] if value is None else value for name, value in given.items()}
    show(Client().put(f"/v1/entities/{entity}", body), output=output, table=print_fields)


@app.command("list")
def list_entities(output: OutputOption = Output.TABLE) -> None:
    """List the entities."""
    show(list(Client().items("/v1/entities")), output=output, table=_table)


@app.command("show")
def show_entity(entity: str, output: OutputOption = Output.TABLE) -> None:
    """Show one entity."""
    show(Client().get(f"/v1/entities/{entity}"), output=output, table=print_fields)


@app.command("erase-person")
def erase_person(
    email: Annotated[str, typer.Argument(help="The person's e-mail address.")],
    entity: Annotated[str | None, typer.Option(help="Only what is kept for this entity.")] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Remove the names and addresses of a signatory or reviewer. What was agreed, and the audit log, stand."""
    erased = Client().post("/v1/erasures", {"email": email, "entity": entity})
    show(erased, output=output, table=show_erased)


def _table(entities: list[dict[str, Any]]) -> None:
    rows = [
        (
            item["id"],
            item["legal_name"],
            item["principal_place_of_business"],
            len(item["affiliates"]),
            "yes" if item["is_operator"] else "",
        )
        for item in entities
    ]
    print_rows(rows, "ENTITY", "LEGAL NAME", "PLACE", "AFFILIATES", "OPERATOR", right=["AFFILIATES"])
