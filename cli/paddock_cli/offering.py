"""Commands of `paddock license` for offers: make one, issue its signatory's link, read, accept, keep the receipt."""

import re
from enum import StrEnum
from typing import Annotated, Any

import typer

from paddock_cli import records
from paddock_cli.client import Client, connection
from paddock_cli.errors import DeniedError, UsageError
from paddock_cli.output import Output, OutputOption, moment, print_fields, print_json, say, show
from paddock_cli.signing import Answers, body_for, present

ROLES = ("operator", "deployer", "consumer")
_SIGNATORY = re.compile(r"\s*(?P<name>[^<>]+?)\s*<(?P<email>[^<>\s]+@[^<>\s]+)>\s*")
Entity = Annotated[str, typer.Option(help="The legal entity.")]
DeliveredBy = Annotated[str | None, typer.Option(help="How the link reaches that person; it is kept.")]


class ReceiptOutput(StrEnum):
    """In which form."""

    TABLE = "table"
    JSON = "json"
    HTML = "html"


def add_commands(app: typer.Typer) -> None:
    """Put these commands into the noun."""
    for command in (offer, link, accept, read, receipt):
        app.command()(command)


def offer(
    entity: Entity,
    role: Annotated[str, typer.Option(help=f"One of {', '.join(ROLES)}.")],
    signatory: Annotated[
        str | None, typer.Option(help='Who may accept: "Name <mail>". The platform leaves it to the entity.')
    ] = None,
    license_id: Annotated[str | None, typer.Option("--license", help="Catalogue id of the license.")] = None,
    model: Annotated[str | None, typer.Option(help="Or a model: its first license that is not accepted.")] = None,
    delivered_by: DeliveredBy = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Offer a license to an entity: prints the link that its signatory uses once.

    An offer that the platform makes to another entity has no link: an administrator of that entity's tenant issues it.
    """
    if (license_id is None) == (model is None):
        raise UsageError("name either --license or --model")
    if role not in ROLES:
        raise UsageError(f"no role {role!r}", advice=f"one of {', '.join(ROLES)}")
    body = {
        "entity": entity,
        "role": role,
        "license": license_id,
        "model": model,
        "signatory": None if signatory is None else _person(signatory),
        **({} if delivered_by is None else {"delivered_by": delivered_by}),
    }
    show(Client().post("/v1/license-offers", body), output=output, table=_offered)


def link(
    offer_id: Annotated[str, typer.Argument(metavar="OFFER", help="Id of the offer.")],
    signatory: Annotated[str, typer.Option(help='Who may accept: "Name <mail>".')],
    delivered_by: DeliveredBy = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Issue the link of an offer's signatory, as an administrator of the entity's tenant; an earlier one ends."""
    body = {**_person(signatory), **({} if delivered_by is None else {"delivered_by": delivered_by})}
    made = Client().post(f"/v1/license-offers/{offer_id}/signatory-link", body)
    show(made, output=output, table=_linked)


def accept(
    token: Annotated[str, typer.Option(envvar="PADDOCK_SIGNATORY_TOKEN", help="The signatory's token.")],
    name: Annotated[str | None, typer.Option(help="Your name.")] = None,
    title: Annotated[str | None, typer.Option(help="Your position.")] = None,
    email: Annotated[str | None, typer.Option(help="Your e-mail address.")] = None,
    authority: Annotated[str | None, typer.Option(help="By what authority you bind the entity.")] = None,
    jurisdiction: Annotated[str | None, typer.Option(help="Country of the entity, two letters.")] = None,
    mau_band: Annotated[str | None, typer.Option(help="Monthly active users: le_700m or gt_700m.")] = None,
    mau_value: Annotated[int | None, typer.Option(min=0, help="Their number, where you state it.")] = None,
    mau_current: Annotated[
        int | None, typer.Option(min=0, help="Users of the last full month, where the platform asks.")
    ] = None,
    mau_method: Annotated[str | None, typer.Option(help="How they were counted.")] = None,
    flow_down: Annotated[
        bool | None, typer.Option("--flow-down/--no-flow-down", help="You pass the use policy on to your users.")
    ] = None,
    *,
    agree: Annotated[bool, typer.Option("--agree", help="The entity agrees.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Accept an offer, as the entity's signatory. Shows the duties first, and asks for what is missing."""
    client = Client(token=token)
    current = _current_offer(client)
    present(current)
    answers = Answers(
        name=name,
        title=title,
        email=email,
        authority=authority,
        jurisdiction=jurisdiction,
        mau_band=mau_band,
        mau_value=mau_value,
        mau_current=mau_current,
        mau_method=mau_method,
        flow_down=flow_down,
        agree=agree,
    )
    receipt = client.post("/v1/license-acceptances", body_for(current, answers))
    show(receipt, output=output, table=records.show_acceptance)


def receipt(
    acceptance: Annotated[str, typer.Argument(help="Id of the acceptance, from `paddock license list`.")],
    output: Annotated[ReceiptOutput, typer.Option("-o", "--output", help="In which form.")] = ReceiptOutput.TABLE,
) -> None:
    """Read the receipt of an acceptance again; as HTML it is one file, to keep or to print."""
    path = f"/v1/license-acceptances/{acceptance}/receipt"
    if output is ReceiptOutput.HTML:
        typer.echo(Client().page(path), nl=False)
        return
    found = Client().get(path)
    if output is ReceiptOutput.JSON:
        print_json(found)
    else:
        _receipt(found)


def read(
    token: Annotated[str, typer.Option(envvar="PADDOCK_SIGNATORY_TOKEN", help="The signatory's token.")],
    output: OutputOption = Output.TABLE,
) -> None:
    """Read what a signatory is asked to agree to, the texts included."""
    current = _current_offer(Client(token=token))
    if output is Output.JSON:
        print_json(current)
        return
    present(current)
    for role, text in current["texts"].items():
        typer.echo(f"\n===== {role} =====\n{text}")


def _current_offer(client: Client) -> dict[str, Any]:
    try:
        current: dict[str, Any] = client.get("/v1/license-offers/current")
    except DeniedError as error:
        error.advice = (
            "SignatoryRequired: only the entity's signatory accepts, with the token that `paddock license offer` "
            "printed for that person"
        )
        raise
    return current


def _person(text: str) -> dict[str, str]:
    person = _SIGNATORY.fullmatch(text)
    if person is None:
        raise UsageError(f"{text!r} names nobody", advice='write --signatory "Name <mail@example.com>"')
    return person.groupdict()


def _offered(made: dict[str, Any]) -> None:
    fields = {"offer": made["offer"], "license": f"{made['license']} as {made['role']}"}
    if made["link"] is None:
        print_fields({**fields, "waits until": moment(made["expires_at"])})
        say(made["next"])
        return
    print_fields(fields)
    _linked(made)


def _linked(made: dict[str, Any]) -> None:
    print_fields(
        {"link": made["link"], "signatory token": made["signatory_token"], "expires": moment(made["expires_at"])}
    )
    say(
        "Give the link to the signatory alone: it is not shown again and works once. That person opens it in a browser,"
    )
    say("or runs")
    say("  paddock license accept --token TOKEN")
    say(f"  against {connection.url}")


def _receipt(found: dict[str, Any]) -> None:
    person, users = found["person"], found["users"]
    link = found["link"]
    signed = f"{person['name']}, {person['title']}, {person['email']}" if person else "personal data erased"
    print_fields(
        {
            "acceptance": found["id"],
            "signed": moment(found["at"]),
            "entity": f"{found['entity']} ({found['legal_name']})",
            "license": f"{found['license']} as {found['role']}",
            "agreed with": found["licensor"],
            "state": found["state"],
            "signed by": signed,
            "authority": person["authority"] if person else "",
            "established in": found["jurisdiction"],
            "users": f"{users['band']} in {users['month']}, {users['method']}" if users else "not asked",
            "terms of use": "not asked" if found["promise"] is None else ("promised" if found["flow_down"] else "no"),
            "link": f"to {link['issued_to'] or 'a person since erased'}, {link['delivered_by']}" if link else "",
            "issued by": _issued_by(link) if link else "",
            **{f"text {role}": digests["canonical"] for role, digests in found["digests"].items()},
            "audit entry": f"{found['audit_seq']} {found['audit_digest']}",
        }
    )


def _issued_by(link: dict[str, Any]) -> str:
    if not link["token"]:
        return str(link["issued_by"])
    return f"{link['issued_by']} with admin token {link['token']}, which {link['token_issued_by']} issued"
