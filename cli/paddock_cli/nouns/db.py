"""Back up the control plane's database, and restore it."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from paddock_cli import database
from paddock_cli.errors import UsageError
from paddock_cli.output import Output, OutputOption, print_fields, say, show

app = typer.Typer(help=__doc__, no_args_is_help=True)
DsnFile = Annotated[
    Path | None,
    typer.Option(
        "--dsn-file", envvar="PADDOCK_CONTROLPLANE_DATABASE_URL_FILE", help="File with the control plane's DSN."
    ),
]
Dsn = Annotated[
    str | None,
    typer.Option("--dsn", envvar="PADDOCK_CONTROLPLANE_DATABASE_URL", help="The DSN itself, if it is no secret."),
]
Programs = Annotated[
    Path | None,
    typer.Option(
        envvar="PADDOCK_POSTGRES_PROGRAMS", file_okay=False, exists=True, help="Folder with pg_dump and its like."
    ),
]


@app.command()
def backup(
    file: Annotated[Path | None, typer.Argument(dir_okay=False, help="New file to write.")] = None,
    out: Annotated[Path | None, typer.Option(dir_okay=False, help="The same, as an option.")] = None,
    dsn_file: DsnFile = None,
    dsn: Dsn = None,
    programs: Programs = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Write one consistent snapshot of the database to a file. Everything may go on meanwhile."""
    postgres = database.connect(dsn=database.dsn_of(dsn_file, dsn), programs=programs)
    show(asdict(postgres.backup(_one(file, out, "--out"))), output=output, table=print_fields)
    say("It holds names and addresses of people: keep it as you keep the database. Secrets' files are not in it.")


@app.command()
def restore(
    file: Annotated[
        Path | None, typer.Argument(exists=True, dir_okay=False, help="A file that `paddock db backup` wrote.")
    ] = None,
    from_file: Annotated[
        Path | None, typer.Option("--file", exists=True, dir_okay=False, help="The same, as an option.")
    ] = None,
    dsn_file: DsnFile = None,
    dsn: Dsn = None,
    programs: Programs = None,
    *,
    replace: Annotated[bool, typer.Option("--replace", help="Lose what the database holds now.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Put a backup in the place of what the database holds, as a whole or not at all. Stop the control plane first."""
    postgres = database.connect(dsn=database.dsn_of(dsn_file, dsn), programs=programs)
    backup_file = _one(file, from_file, "--file")
    postgres.restore(backup_file, replace=replace)
    show({"restored": str(backup_file)}, output=output, table=print_fields)
    say("Next: `paddock-controlplane migrate`, start it, `paddock audit verify --head FILE`, `paddock ledger check`.")


def _one(argument: Path | None, option: Path | None, name: str) -> Path:
    if (argument is None) == (option is None):
        raise UsageError("which file?", advice=f"name it once, as FILE or with {name}")
    return argument or option or Path()
