"""Import, offer, accept, check, grant and end licenses."""

from pathlib import Path
from typing import Annotated, Any

import typer

from paddock_cli import active_users, offering, records
from paddock_cli.checking import VERBS, Question, ask_file, ask_server
from paddock_cli.client import Client
from paddock_cli.errors import DeniedError, UsageError
from paddock_cli.output import Output, OutputOption, moment, print_fields, print_json, print_rows, say, show

app = typer.Typer(help=__doc__, no_args_is_help=True)
offering.add_commands(app)
records.add_commands(app)
app.command("users")(active_users.users)

Entity = Annotated[str, typer.Option(help="The legal entity.")]


@app.command("import")
def import_texts(
    license_id: Annotated[str, typer.Argument(metavar="LICENSE", help="Id of a license of the catalogue.")],
    agreement: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="File with the agreement.")],
    aup: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="File with the use policy.")] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Import a license's texts; only the words that the catalogue pins are taken."""
    body = {
        "license": license_id,
        "agreement": _read(agreement),
        "aup": None if aup is None else _read(aup),
    }
    show(Client().post("/v1/license-texts", body), output=output, table=_imported)


@app.command("list")
def list_acceptances(
    entity: Annotated[str | None, typer.Option(help="Only of this entity.")] = None,
    license_id: Annotated[str | None, typer.Option("--license", help="Only of this license.")] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List who has accepted what, ended acceptances too."""
    found = list(Client().items("/v1/license-acceptances", entity=entity, license=license_id))
    show(found, output=output, table=_acceptances)


@app.command()
def catalog(output: OutputOption = Output.TABLE) -> None:
    """List the licenses of the catalogue and whether their texts are imported."""
    show(list(Client().items("/v1/licenses")), output=output, table=_catalog)


@app.command()
def table() -> None:
    """Print the licenses of this version's catalogue as Markdown, as docs/licenses.md holds it."""
    from paddock_core.catalog.packaged import packaged_catalog
    from paddock_core.licensing.table import license_table

    typer.echo(license_table(packaged_catalog()), nl=False)


@app.command()
def attribution() -> None:
    """Print what licenses ask to be displayed, and their notices, as Markdown, as docs/attribution.md holds it."""
    from paddock_core.catalog.packaged import packaged_catalog
    from paddock_core.licensing.table import attribution_page

    typer.echo(attribution_page(packaged_catalog()), nl=False)


@app.command()
def schema() -> None:
    """Print the JSON Schema of a file of facts, as docs/facts.schema.json holds it."""
    from paddock_core.licensing.facts_document import facts_schema

    print_json(facts_schema())


@app.command("show")
def show_license(
    license_id: Annotated[str, typer.Argument(metavar="LICENSE", help="Catalogue id.")],
    output: OutputOption = Output.TABLE,
) -> None:
    """Show a license: its duties in plain words."""
    show(Client().get(f"/v1/licenses/{license_id}"), output=output, table=_license)


@app.command()
def check(
    entity: Entity,
    model: Annotated[str, typer.Option(help="Catalogue id of the model, or id of a registered one.")],
    verb: Annotated[str, typer.Option(help=f"One of {', '.join(VERBS)}.")] = "deploy",
    role: Annotated[str | None, typer.Option(help="operator, deployer, consumer or end_user.")] = None,
    name: Annotated[
        str | None, typer.Option("--name", "--public-name", help="Name under which it would be shown.")
    ] = None,
    purpose: Annotated[str, typer.Option(help="commercial, noncommercial_research, ...")] = "commercial",
    student: Annotated[str | None, typer.Option(help="For distill: the model that the outputs are to improve.")] = None,
    at: Annotated[str | None, typer.Option(help="When: 2026-11-22 or 2026-11-22T10:00:00Z; else now.")] = None,
    facts: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Facts to judge on (YAML, JSON), with no server.")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Ask whether an entity may do something with a model, and why. Exit code 3 if not.

    Without --role the entity is asked about as operator where it runs the platform, else as deployer.
    """
    question = Question(
        entity=entity, model=model, verb=verb, role=role, name=name, purpose=purpose, student=student, at=at
    )
    decision = ask_server(question) if facts is None else ask_file(question, facts)
    show(decision, output=output, table=_decision)
    if not decision["allowed"]:
        raise typer.Exit(DeniedError.code)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text", advice="import the file as the licensor publishes it") from error


def _imported(found: dict[str, Any]) -> None:
    print_fields({"license": found["license"], **{role: item["canonical"] for role, item in found["texts"].items()}})


def _acceptances(items: list[dict[str, Any]]) -> None:
    rows = [
        (item["id"], item["entity"], item["license"], item["role"], item["state"], moment(item["at"])) for item in items
    ]
    print_rows(rows, "ACCEPTANCE", "ENTITY", "LICENSE", "ROLE", "STATE", "AT")


def _catalog(items: list[dict[str, Any]]) -> None:
    rows = [
        (item["license"]["id"], item["license"]["title"], "yes" if all(item["imported"].values()) else "no")
        for item in items
    ]
    print_rows(rows, "LICENSE", "TITLE", "IMPORTED")


def _license(found: dict[str, Any]) -> None:
    entry = found["license"]
    texts = ", ".join(f"{role}: {'imported' if there else 'not imported'}" for role, there in found["imported"].items())
    print_fields({"license": entry["id"], "title": entry["title"], "licensor": entry["licensor"], "texts": texts})
    print_rows([(duty["clause"], duty["text"]) for duty in found["duties"]], "CLAUSE", "DUTY")
    if found["restrictions"]:
        print_rows([(item["id"], item["words"]) for item in found["restrictions"]], "FORBIDDEN", "USE")


def _decision(decision: dict[str, Any]) -> None:
    print_fields(
        {
            "allowed": "yes" if decision["allowed"] else "no",
            "reason": decision["reason"],
            "message": decision["message"],
            "clauses": ", ".join(decision["clauses"]),
            "until": moment(decision["valid_until"]),
        }
    )
    for warning in decision.get("warnings", ()):
        say(f"warning: {warning}")
