"""Back up the control plane's database, and restore it."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from paddock_cli import database
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
    file: Annotated[Path, typer.Argument(dir_okay=False, help="New file to write.")],
    dsn_file: DsnFile = None,
    dsn: Dsn = None,
    programs: Programs = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Write one consistent snapshot of the database to a file. Everything may go on meanwhile."""
    postgres = database.connect(dsn=database.dsn_of(dsn_file, dsn), programs=programs)
    show(asdict(postgres.backup(file)), output=output, table=print_fields)
    say("It holds names and addresses of people: keep it as you keep the database. Secrets' files are not in it.")


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A file that `paddock db backup` wrote.")],
    dsn_file: DsnFile = None,
    dsn: Dsn = None,
    programs: Programs = None,
    *,
    replace: Annotated[bool, typer.Option("--replace", help="Lose what the database holds now.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Put a backup in the place of what the database holds, as a whole or not at all. Stop the control plane first."""
    postgres = database.connect(dsn=database.dsn_of(dsn_file, dsn), programs=programs)
    postgres.restore(file, replace=replace)
    show({"restored": str(file)}, output=output, table=print_fields)
    say("Next: `paddock-controlplane migrate`, start it, `paddock audit verify --head FILE`, `paddock ledger check`.")
