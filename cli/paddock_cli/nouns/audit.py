"""Read and verify the audit log."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paddock_cli.client import Client
from paddock_cli.errors import CliError, UsageError
from paddock_cli.output import Output, OutputOption, print_fields, print_rows, say, show

if TYPE_CHECKING:
    from paddock_core.audit.chain import Verifier
    from paddock_core.audit.records import Seals, Stored

    from paddock_cli.audit_page import AuditPage

app = typer.Typer(help=__doc__, no_args_is_help=True)

PAGE = 5000
_TIMES = 5
"""How often records that differ are compared again, while others write."""
KeyFile = Annotated[
    Path | None,
    typer.Option(
        envvar=["PADDOCK_AUDIT_KEY_FILE", "AUDIT_KEY_FILE"],
        exists=True,
        dir_okay=False,
        help="File with the key that signs heads: then their signatures are checked.",
    ),
]


@app.command("list")
def list_entries(
    after: Annotated[int, typer.Option(min=0, help="Begin after this number.")] = 0,
    limit: Annotated[int, typer.Option(min=1, max=PAGE, help="At most so many entries.")] = 200,
    output: OutputOption = Output.TABLE,
) -> None:
    """List entries, oldest first, and the signed head of their chain."""
    show(Client().get("/v1/audit", after=after, limit=limit), output=output, table=_table)


@app.command()
def head(
    out: Annotated[Path | None, typer.Option(dir_okay=False, help="Append it to this file, a line each.")] = None,
    key_file: KeyFile = None,
) -> None:
    """Export the signed head of the log. Keep heads where nobody who can write to the database can write."""
    found = Client().get("/v1/audit", limit=1)["head"]
    _signed(found, key_file, "the control plane")
    line = json.dumps(found)
    if out is None:
        typer.echo(line)
        return
    with out.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    say(f"head {found['seq']} appended to {out}")


@app.command()
def verify(
    head_file: Annotated[
        Path | None, typer.Option("--head", exists=True, dir_okay=False, help="File with exported heads.")
    ] = None,
    key_file: KeyFile = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Check that no entry was removed, changed or moved, and that records are what their entries wrote.

    With exported heads also that none was cut off at the end. Exit code 1 if the log does not hold, with the number of
    the first entry that does not, or if a record was changed beside it.
    """
    from paddock_core.audit.chain import Verifier
    from paddock_core.audit.records import Seals

    heads = _heads(head_file, key_file)
    verifier = Verifier(heads=heads)
    newest: dict[str, Any] = {}
    seals = Seals()
    for page in _pages():
        newest = asdict(page.head)
        # Entries may be added meanwhile: what the newest head covers is read too, as long as there is something.
        verifier.heads = {page.head.seq: page.head.digest, **heads}
        if not verifier.check(page.items):
            break
        seals.read(page.items)
    _signed(newest, key_file, "the control plane")
    verifier.finish()
    different = _different(seals, verifier) if verifier.breach is None else []
    result = {
        "holds": verifier.breach is None and not different,
        "entries": verifier.seq,
        "heads_compared": len(heads),
        "signatures_checked": key_file is not None,
        "at": verifier.breach.seq if verifier.breach else None,
        "what": verifier.breach.what if verifier.breach else None,
        "records": different,
    }
    show(result, output=output, table=_result)
    if verifier.breach is not None:
        raise CliError(
            f"the audit log does not hold at entry {verifier.breach.seq}: {verifier.breach.what}",
            advice="compare the database with its backups; entries before it are unchanged",
        )
    if different:
        raise CliError(
            f"{len(different)} records are not what the audit log says: {different[0]}",
            advice="compare the database with its backups; the log itself holds",
        )
    if not heads:
        say("No exported head was compared: a tail that was cut off would not show (`paddock audit head --out FILE`).")


def _different(seals: "Seals", verifier: "Verifier") -> list[str]:
    """Records that differ from the log. One that was changed while the log was read is looked at again."""
    from paddock_core.audit.records import KINDS

    different: list[str] = []
    for _ in range(_TIMES):
        different = seals.differences(record for kind in KINDS for record in _records(kind))
        if not different:
            return []
        before = verifier.seq
        for page in _pages(before):
            verifier.heads = {}
            if not verifier.check(page.items):
                return different
            seals.read(page.items)
        if verifier.seq == before:
            return different
    return different


def _records(kind: str) -> "Iterator[Stored]":
    from paddock_core.audit.records import Stored

    after = ""
    while True:
        found = Client().read(f"/v1/audit/records/{kind}", list[Stored], after=after, limit=PAGE)
        yield from found
        if len(found) < PAGE:
            return
        after = found[-1].id


def _pages(start: int = 0) -> "Iterator[AuditPage]":
    """The log after an entry; while one page is checked, the next is on its way."""
    from concurrent.futures import ThreadPoolExecutor

    from paddock_cli.audit_page import AuditPage

    def fetch(after: int) -> AuditPage:
        return Client().read("/v1/audit", AuditPage, after=after, limit=PAGE)

    with ThreadPoolExecutor(max_workers=1) as ahead:
        page, after = fetch(start), start
        while True:
            last = page.items[-1].seq if page.items else after
            done = not page.items or last >= page.head.seq
            coming = None if done else ahead.submit(fetch, last)
            yield page
            if coming is None:
                return
            page, after = coming.result(), last


def _heads(path: Path | None, key_file: Path | None) -> dict[int, str]:
    """Digests of exported heads by number. Raises UsageError for another file, CliError for one that is forged."""
    if path is None:
        return {}
    found: dict[int, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            item = json.loads(line)
            seq, digest, _ = int(item["seq"]), str(item["digest"]), item["signature"]
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(
                f"{path}, line {number}: not an exported head", advice="take what `paddock audit head` prints"
            ) from error
        _signed(item, key_file, f"{path}, line {number}")
        if found.setdefault(seq, digest) != digest:
            raise CliError(f"{path}, line {number}: another head with the number {seq} has another digest")
    if not found:
        raise CliError(
            f"{path}: no exported head in it, so nothing would be compared",
            advice="give the file to which `paddock audit head --out` or the control plane appends heads",
        )
    return found


def _signed(item: dict[str, Any], key_file: Path | None, where: str) -> None:
    from paddock_core.audit.chain import Head

    if key_file is not None and not Head(**item).signed_by(key_file.read_bytes().strip()):
        raise CliError(
            f"the head of {where} is not signed with this key",
            advice="is it the file that PADDOCK_CONTROLPLANE_AUDIT_KEY_FILE names? Else the head is forged",
        )


def _result(result: dict[str, Any]) -> None:
    print_fields({**result, "holds": "yes" if result["holds"] else "NO", "records": "; ".join(result["records"])})


def _table(page: dict[str, Any]) -> None:
    rows = [
        (item["seq"], item["at"][:19], item["actor"], item["action"], item["subject"], item["entity"] or item["tenant"])
        for item in page["items"]
    ]
    print_rows(rows, "NUMBER", "TIME", "ACTOR", "ACTION", "SUBJECT", "OF", right=["NUMBER"])
