"""kubectl: the machine's own when its version fits the API server's, else the one in the checkout's environment."""

import json
import os
import shutil
import subprocess
from pathlib import Path

from paddock_local.errors import BuildError, StackError
from paddock_local.paths import StackPaths

# One minor version to each side of the server's is supported.
SKEW = 1


def minor_version(program: str) -> int | None:
    """Minor version of a kubectl, None when it does not say."""
    try:
        out = subprocess.run(
            [program, "version", "--client", "-o", "json"], capture_output=True, timeout=30, check=False
        )
        return int(json.loads(out.stdout)["clientVersion"]["minor"].rstrip("+"))
    except (OSError, ValueError, KeyError):
        return None


def candidates(paths: StackPaths) -> list[str]:
    """The machine's kubectl, then ours."""
    machine = shutil.which("kubectl", path=os.environ.get("PATH", os.defpath))
    ours = [str(paths.venv_bin / "kubectl")]
    return [machine, *ours] if machine else ours


def find(paths: StackPaths, *, minor: int) -> Path:
    """A kubectl for a server of 1.`minor`.

    Raises BuildError when neither fits.
    """
    for program in candidates(paths):
        found = minor_version(program)
        if found is not None and abs(found - minor) <= SKEW:
            return Path(program)
    raise BuildError(f"no kubectl between 1.{minor - SKEW} and 1.{minor + SKEW}: run `make demo` again to install one")


def run(kubectl: Path, kubeconfig: Path | str, *arguments: str, stdin: str | None = None) -> str:
    """Output of a kubectl command.

    Raises StackError with what kubectl said.
    """
    command = [str(kubectl), f"--kubeconfig={kubeconfig}", *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise StackError(f"`kubectl {' '.join(arguments)}` failed: {done.stderr.strip()[-1000:]}")
    return done.stdout
