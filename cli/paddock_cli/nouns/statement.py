"""Issue, read and verify a tenant's monthly statement."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

import typer

from paddock_cli.client import Client
from paddock_cli.errors import CliError, UsageError
from paddock_cli.output import Output, OutputOption, moment, print_fields, print_rows, say, show

app = typer.Typer(help=__doc__, no_args_is_help=True)
PAGE = 2000

Statement = Annotated[str, typer.Argument(help="Its id, as `paddock statement list` shows it.")]


@app.command()
def issue(
    tenant: Annotated[str, typer.Option(help="The tenant.")],
    month: Annotated[str, typer.Option(help="The month (of UTC), such as 2026-11. It must be over.")],
    output: OutputOption = Output.TABLE,
) -> None:
    """Add up a month from the rows of the ledger and sign it. Issued once, it stays as it is."""
    show(Client().post("/v1/statements", {"tenant": tenant, "month": month}), output=output, table=_print)


@app.command("list")
def list_statements(
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's.")] = None, output: OutputOption = Output.TABLE
) -> None:
    """List statements."""
    show(list(Client().items("/v1/statements", tenant=tenant)), output=output, table=_table)


@app.command("show")
def show_statement(
    statement: Statement,
    out: Annotated[Path | None, typer.Option(dir_okay=False, help="Write it to this file, as it is signed.")] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show a statement."""
    found = Client().get(f"/v1/statements/{statement}")
    if out is not None:
        out.write_text(json.dumps(found) + "\n", encoding="utf-8")
        say(f"statement {statement} in {out}")
        return
    show(found, output=output, table=_print)


@app.command()
def verify(
    statement: Annotated[str, typer.Argument(help="Its id, or a file that `paddock statement show --out` wrote.")],
    key_file: Annotated[
        Path | None,
        typer.Option(
            envvar=["PADDOCK_AUDIT_KEY_FILE", "AUDIT_KEY_FILE"],
            exists=True,
            dir_okay=False,
            help="File with the key that signs the audit log: then the signature is checked.",
        ),
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Read every row of a statement, add them up again and compare to the last nano-unit.

    Exit code 1 if it does not hold.
    """
    from paddock_core.usage.statements import Signed, StatementError

    try:
        signed = Signed(**_document(statement))
        if not signed.intact():
            raise CliError(f"statement {signed.id} was changed: its text does not give its digest")
        if key_file is not None and not signed.signed_by(key_file.read_bytes().strip()):
            raise CliError(
                f"statement {signed.id} is not signed with this key",
                advice="is it the file that PADDOCK_CONTROLPLANE_AUDIT_KEY_FILE names? Else it is forged",
            )
        rows, again = _again(signed)
    except (StatementError, TypeError) as error:
        raise CliError(f"the statement does not hold: {error}") from error
    holds = again == signed.document
    result = {"statement": signed.id, "holds": holds, "rows": rows, "signature_checked": key_file is not None}
    show(result, output=output, table=lambda item: print_fields({**item, "holds": "yes" if holds else "NO"}))
    if not holds:
        raise CliError(
            f"statement {signed.id} does not hold: its {rows} rows give another sum or are not those it was made from",
            advice="compare the ledger with the database's backups",
        )


def _again(signed: Any) -> tuple[int, str]:
    """The number of rows, and the text of the statement that they give."""
    from paddock_core.usage.row import LedgerRow
    from paddock_core.usage.statements import Tally

    said = signed.statement()
    tally = Tally({price.id: price for price in said.prices})
    known = {field.name for field in fields(LedgerRow)}
    tally.add(
        LedgerRow(**{name: value for name, value in item.items() if name in known})
        for item in Client().items(f"/v1/statements/{signed.id}/rows", limit=PAGE)
    )
    again = tally.statement(
        tenant=said.tenant,
        month=said.month,
        after_arrival=said.after_arrival,
        until_arrival=said.until_arrival,
        previous=said.previous,
    )
    return tally.rows, again.text()


def _document(statement: str) -> dict[str, Any]:
    path = Path(statement)
    if not path.is_file():
        found: dict[str, Any] = Client().get(f"/v1/statements/{statement}")
        return found
    try:
        read: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(f"{path} is no statement", advice="take what `paddock statement show --out` wrote") from error
    return read


def _print(found: dict[str, Any]) -> None:
    from paddock_core.usage.buckets import NAMES
    from paddock_core.usage.money import format_amount

    said = json.loads(found["document"])
    totals = ", ".join(f"{format_amount(total['cost_nano'])} {total['currency']}" for total in said["totals"])
    print_fields(
        {
            "statement": found["id"],
            "tenant": said["tenant"],
            "month": said["month"],
            "rows": said["rows"],
            "total": totals or "nothing was priced",
            "unpriced requests": said["unpriced_requests"],
            "issued": moment(found["at"]),
            "digest": found["digest"],
        }
    )
    rows = [
        (
            line["project"],
            line["model"],
            line["deployment"],
            line["requests"],
            *(line["tokens"][name] for name in NAMES),
            format_amount(sum(line["costs"].values()) + line["adjusted"]) if line["price_id"] else "no price",
        )
        for line in said["lines"]
    ]
    counts = ("REQUESTS", *(name.replace("_", " ").upper() for name in NAMES), "COST")
    typer.echo()
    print_rows(rows, "PROJECT", "MODEL", "DEPLOYMENT", *counts, right=counts)


def _table(items: list[dict[str, Any]]) -> None:
    rows = [(item["id"], item["tenant"], item["month"], moment(item["at"]), item["digest"]) for item in items]
    print_rows(rows, "STATEMENT", "TENANT", "MONTH", "ISSUED", "DIGEST")
