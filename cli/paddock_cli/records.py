"""Commands of `paddock license` for the records: what ends an acceptance, statements, grants, the platform's policy."""

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from paddock_cli.client import Client
from paddock_cli.errors import UsageError
from paddock_cli.output import (
    Output,
    OutputOption,
    moment,
    print_fields,
    print_json,
    print_rows,
    say,
    show,
    show_erased,
)

grants = typer.Typer(help="Record a licensor's grants to entities above a threshold.", no_args_is_help=True)

Acceptance = Annotated[str, typer.Argument(help="Id of the acceptance, from `paddock license list`.")]
Reason = Annotated[str, typer.Option(help="Why; it is kept in the audit log: name no private person.")]
Entity = Annotated[str, typer.Option(help="The legal entity.")]
OnlyEntity = Annotated[str | None, typer.Option(help="Only of this entity.")]
OnlyLicense = Annotated[str | None, typer.Option("--license", help="Only of this license.")]
GrantId = Annotated[str, typer.Argument(help="Id of the grant, from `paddock license grant list`.")]


def add_commands(app: typer.Typer) -> None:
    """Put these commands into the noun."""
    for command in (revoke, suspend, terminate, reinstate, erase, purges, correct, statements, policy, report):
        app.command()(command)
    app.add_typer(grants, name="grant")


def revoke(acceptance: Acceptance, reason: Reason, output: OutputOption = Output.TABLE) -> None:
    """Revoke an acceptance: what rests on it is refused within two seconds and stops."""
    _step(acceptance, "revoke", reason, output)


def suspend(acceptance: Acceptance, reason: Reason, output: OutputOption = Output.TABLE) -> None:
    """Suspend an acceptance until it is reinstated."""
    _step(acceptance, "suspend", reason, output)


def terminate(acceptance: Acceptance, reason: Reason, output: OutputOption = Output.TABLE) -> None:
    """Record that the licensor ended the license of an entity: no acceptance of it counts any more."""
    _step(acceptance, "terminate", reason, output)


def reinstate(acceptance: Acceptance, reason: Reason, output: OutputOption = Output.TABLE) -> None:
    """Lift a suspension, or a termination: then the entity accepts again."""
    _step(acceptance, "reinstate", reason, output)


def erase(acceptance: Acceptance, output: OutputOption = Output.TABLE) -> None:
    """Remove the name, title and address of whoever signed. The acceptance and the audit log stand."""
    erased = Client().post(f"/v1/license-acceptances/{acceptance}/erase", {})
    show(erased, output=output, table=show_erased)


def purges(output: OutputOption = Output.TABLE) -> None:
    """List the orders to remove models' files whose licenses ended, and what was removed."""
    show(list(Client().items("/v1/purges")), output=output, table=_purges)


def correct(
    entity: Entity,
    license_id: Annotated[str, typer.Option("--license", help="The license.")],
    method: Annotated[str, typer.Option(help="How the users were counted.")],
    reason: Reason,
    value: Annotated[int | None, typer.Option(min=0, help="Their number, where it is known.")] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Correct an entity's statement: it had more users than its license permits. Fewer is the signatory's to state."""
    body = {"entity": entity, "license": license_id, "band": "gt_700m", "method": method, "reason": reason}
    made = Client().post("/v1/license-statements", {**body, "value": value})
    show(made, output=output, table=lambda item: _statements([item]))


def statements(entity: OnlyEntity = None, license_id: OnlyLicense = None, output: OutputOption = Output.TABLE) -> None:
    """List statements of monthly active users, corrected ones too."""
    found = list(Client().items("/v1/license-statements", entity=entity, license=license_id))
    show(found, output=output, table=_statements)


def policy(
    threshold: Annotated[str | None, typer.Option(help="literal or conservative.")] = None,
    consumers: Annotated[str | None, typer.Option(help="full or terms_of_use.")] = None,
    grace_days: Annotated[float | None, typer.Option(min=0, max=365, help="Days that older words still hold.")] = None,
    admission: Annotated[str | None, typer.Option(help="warn or deny: what `kubectl apply` may still lack.")] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show what the platform decides where licenses leave room; with options, decide it otherwise."""
    wished = {"threshold": threshold, "consumers": consumers, "grace_days": grace_days, "admission": admission}
    given = {name: value for name, value in wished.items() if value is not None}
    found = Client().get("/v1/license-policy")
    if given:
        body = {name: given.get(name, found[name]) for name in wished}
        found = Client().put("/v1/license-policy", body)
    show(found, output=output, table=lambda item: print_fields({name: item[name] for name in wished}))


class ReportOutput(StrEnum):
    """In which form."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    HTML = "html"


def report(
    license_id: Annotated[str, typer.Option("--license", help="The license.")],
    month: Annotated[str, typer.Option(help="The month, 2026-10.")],
    output: Annotated[ReportOutput, typer.Option("-o", "--output", help="In which form.")] = ReportOutput.TABLE,
) -> None:
    """Report on a license: who accepted what under which text, statements, grants, who was served, what expires."""
    from paddock_cli import license_report

    found = Client().get("/v1/license-report", license=license_id, month=month)
    if output is ReportOutput.JSON:
        print_json(found)
    elif output is ReportOutput.CSV:
        typer.echo(license_report.as_csv(found), nl=False)
    elif output is ReportOutput.HTML:
        typer.echo(license_report.as_html(found), nl=False)
    else:
        for title, columns, rows in license_report.sections(found):
            typer.echo(f"\n{title}")
            print_rows(rows, *(column.upper() for column in columns))


@grants.command("add")
def add_grant(
    entity: Entity,
    license_id: Annotated[list[str], typer.Option("--license", help="A license that it names; again for another.")],
    valid_from: Annotated[str, typer.Option(help="First day, 2026-01-31.")],
    valid_to: Annotated[str, typer.Option(help="Last day, 2026-12-31.")],
    grantor: Annotated[str, typer.Option(help="Who granted it.")],
    reference: Annotated[str, typer.Option(help="How the document is found again.")],
    document: Annotated[
        Path, typer.Option(exists=True, dir_okay=False, help="The document; only its digest is recorded.")
    ],
    assurance: Annotated[str, typer.Option(help="document or officer_attestation.")] = "document",
    model: Annotated[list[str] | None, typer.Option(help="Only this model; again for another.")] = None,
    affiliate: Annotated[list[str] | None, typer.Option(help="An entity that it names too; again for another.")] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Record a grant. It permits nothing until two different people reviewed it."""
    import hashlib

    body = {
        "entity": entity,
        "affiliates": affiliate or [],
        "licenses": license_id,
        "models": model or [],
        "valid_from": _day(valid_from),
        "valid_to": _day(valid_to, after=1),
        "grantor": grantor,
        "reference": reference,
        "document_sha256": hashlib.sha256(document.read_bytes()).hexdigest(),
        "assurance": assurance,
    }
    show(Client().post("/v1/license-grants", body), output=output, table=_grant)


@grants.command("review")
def review_grant(
    grant: GrantId,
    token: Annotated[str, typer.Option(envvar="PADDOCK_REVIEWER_TOKEN", help="The reviewer's own token.")],
    output: OutputOption = Output.TABLE,
) -> None:
    """Record that you compared the grant with its document. Two different people do, each with a token of their own."""
    made = Client(token=token).post(f"/v1/license-grants/{grant}/reviews", {})
    show(made, output=output, table=_grant)


@grants.command("reviewer")
def add_reviewer(
    name: Annotated[str, typer.Option(help="Who compares grants with their documents.")],
    email: Annotated[str, typer.Option(help="That person's address.")],
    delivered_by: Annotated[str, typer.Option(help="How the token reaches that person.")] = "not recorded",
    output: OutputOption = Output.TABLE,
) -> None:
    """Issue a token to a person who reviews grants. It is shown this once."""
    body = {"name": name, "email": email, "delivered_by": delivered_by}
    show(Client().post("/v1/license-reviewers", body), output=output, table=print_fields)


@grants.command("reviewers")
def list_reviewers(output: OutputOption = Output.TABLE) -> None:
    """List who reviews grants, or did."""
    show(list(Client().items("/v1/license-reviewers")), output=output, table=_reviewers)


@grants.command("end-reviewer")
def end_reviewer(reviewer: Annotated[str, typer.Argument(help="Id, from `paddock license grant reviewers`.")]) -> None:
    """A reviewer's token opens nothing from now on; the reviews made with it stand."""
    Client().delete(f"/v1/license-reviewers/{reviewer}")
    say(f"reviewer {reviewer} has ended")


@grants.command("withdraw")
def withdraw_grant(grant: GrantId, reason: Reason, output: OutputOption = Output.TABLE) -> None:
    """End a grant."""
    show(Client().post(f"/v1/license-grants/{grant}/withdraw", {"reason": reason}), output=output, table=_grant)


@grants.command("list")
def list_grants(entity: OnlyEntity = None, license_id: OnlyLicense = None, output: OutputOption = Output.TABLE) -> None:
    """List grants, ended ones too."""
    found = list(Client().items("/v1/license-grants", entity=entity, license=license_id))
    show(found, output=output, table=_grants)


def show_acceptance(item: dict[str, Any]) -> None:
    """An acceptance, for people."""
    shown = {"acceptance": item["id"], "entity": item["entity"], "license": f"{item['license']} as {item['role']}"}
    proof = {"audit entry": f"{item['audit_seq']} {item['audit_digest']}"} if "audit_seq" in item else {}
    print_fields({**shown, "state": item["state"], "text": item["canonical"], **proof})
    if item["state"] == "pending_grant":
        say("Above the license's threshold: everything stays denied until the licensor's grant is recorded.")


def _step(acceptance: str, step: str, reason: str, output: Output) -> None:
    changed = Client().post(f"/v1/license-acceptances/{acceptance}/{step}", {"reason": reason})
    show(changed, output=output, table=show_acceptance)


def _day(text: str, *, after: int = 0) -> float:
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError as error:
        raise UsageError(f"{text!r} is no day", advice="write 2026-12-31") from error
    return (day + timedelta(days=after)).timestamp()


def _statements(items: list[dict[str, Any]]) -> None:
    rows = [
        (item["id"], item["entity"], item["license"], item["month"], item["band"], item["value"], moment(item["at"]))
        for item in items
    ]
    print_rows(rows, "STATEMENT", "ENTITY", "LICENSE", "MONTH", "BAND", "VALUE", "AT", right=["VALUE"])


def _grant(item: dict[str, Any]) -> None:
    _grants([item])
    if item["state"] == "pending_review":
        say(f"Reviewed by {item['reviews']} of 2: each reviewer runs `paddock license grant review {item['id']}`")


def _grants(items: list[dict[str, Any]]) -> None:
    rows = [
        (
            item["id"],
            ", ".join((item["entity"], *item["affiliates"])),
            ", ".join(item["licenses"]),
            item["state"],
            moment(item["valid_from"]),
            moment(item["valid_to"]),
        )
        for item in items
    ]
    print_rows(rows, "GRANT", "ENTITIES", "LICENSES", "STATE", "FROM", "TO")


def _reviewers(items: list[dict[str, Any]]) -> None:
    rows = [
        (item["id"], item["name"] or "(erased)", item["email"], moment(item["created_at"]), moment(item["ended_at"]))
        for item in items
    ]
    print_rows(rows, "REVIEWER", "NAME", "ADDRESS", "SINCE", "ENDED")


def _purges(items: list[dict[str, Any]]) -> None:
    rows = [
        (
            item["id"],
            item["model"],
            item["state"],
            item["why"],
            moment(item["ordered_at"]),
            moment(item["ended_at"]),
            len(item["removed"]),
            item["bytes"],
        )
        for item in items
    ]
    columns = ("PURGE", "MODEL", "STATE", "WHY", "ORDERED", "ENDED", "FILES", "BYTES")
    print_rows(rows, *columns, right=["FILES", "BYTES"])
