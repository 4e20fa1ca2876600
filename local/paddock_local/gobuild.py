"""Running Go for a module of ours: its output, what it says as it goes, and a name for what comes out."""

import hashlib
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from paddock_local.errors import BuildError

ERROR_TAIL = 1500


def digest(files: Iterable[Path], *, flags: object) -> str:
    """Names a build: the same inputs on the same kind of machine give the same programs."""
    text = hashlib.sha256()
    for file in sorted(files):
        text.update(f"{file.name}\0".encode() + file.read_bytes())
    text.update(f"{flags}{os.uname().machine}".encode())
    return text.hexdigest()[:24]


def cache_folder(kind: str, name: str) -> Path:
    """Where a build is kept between checkouts."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "paddock" / kind / name


def run(command: list[str], *, module: Path, env: dict[str, str], what: str) -> str:
    """Output of a short command. Raises BuildError with the last that it said."""
    done = subprocess.run(command, cwd=module, env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BuildError(f"{what} failed; the last it said: {done.stderr[-ERROR_TAIL:]}")
    return done.stdout


def source_folder(go: Path, name: str, *, module: Path, env: dict[str, str]) -> Path:
    """Where the sources of module `name` lie, of the version that `module` requires; fetched if need be."""
    run([str(go), "mod", "download", name], module=module, env=env, what=f"fetching {name}")
    query = [str(go), "list", "-m", "-f", "{{.Dir}}", name]
    return Path(run(query, module=module, env=env, what=f"looking up {name}").strip())


def follow(command: list[str], *, module: Path, env: dict[str, str], report: Callable[[int], None]) -> str:
    """Output of a command that writes a line to standard error per unit of work, reported as it comes."""
    # A file, since a full pipe that nobody reads would stop the command.
    with tempfile.TemporaryFile("w+") as output:
        with subprocess.Popen(
            command, cwd=module, env=env, stdout=output, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stderr is not None  # noqa: S101 - asked for with PIPE
            tail: list[str] = []
            for count, line in enumerate(process.stderr, start=1):
                tail = [*tail[-20:], line]
                report(count)
        if process.returncode != 0:
            raise BuildError(f"`go {command[1]}` failed; the last it said: {''.join(tail)[-ERROR_TAIL:]}")
        output.seek(0)
        return output.read()
